// Package pii finds personal data and secrets in text: e-mail addresses, phone numbers, cards, bank accounts, national
// numbers, network addresses, keys and passwords, wallets, dates of birth, and what the operator adds by rule or by
// list. It says where they are and how sure it is; what is done about them is decided above it.
//
// A text is read once, byte by byte, through a table of classes. Nearly every byte of prose is of no interest; a digit,
// an '@', a ':' or a long token is an anchor, and only there a recogniser looks at the bytes around it. So a clean text
// costs what the table costs, and no pattern runs over the whole of a text unless the operator wrote one.
//
// It knows no names and no street addresses: they have no shape. It does no I/O and keeps nothing of what it reads.
package pii

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// An Entity is a kind of thing that is found. Where Microsoft's Presidio has the kind, it has Presidio's name, so that
// a configuration written for one can be used with the other.
type Entity string

// The entities that are built in. An operator's rules and lists may name others.
const (
	EmailAddress   Entity = "EMAIL_ADDRESS"
	PhoneNumber    Entity = "PHONE_NUMBER"
	CreditCard     Entity = "CREDIT_CARD"
	IBAN           Entity = "IBAN_CODE"
	IPAddress      Entity = "IP_ADDRESS"
	MACAddress     Entity = "MAC_ADDRESS"
	Crypto         Entity = "CRYPTO" // addresses of Bitcoin and Ethereum
	DateOfBirth    Entity = "DATE_OF_BIRTH"
	URL            Entity = "URL"             // any address with a scheme; looked for only where it is named
	URLCredentials Entity = "URL_CREDENTIALS" // an address with a password in it, connection strings too
	Secret         Entity = "SECRET"          // keys of APIs, tokens, private keys, passwords that are assigned

	USSSN      Entity = "US_SSN"
	USITIN     Entity = "US_ITIN"
	UKNINO     Entity = "UK_NINO"
	UKNHS      Entity = "UK_NHS"
	CASIN      Entity = "CA_SIN"
	AUTFN      Entity = "AU_TFN"
	AUMedicare Entity = "AU_MEDICARE"
	INAadhaar  Entity = "IN_AADHAAR"
	INPAN      Entity = "IN_PAN"
	SGNRIC     Entity = "SG_NRIC_FIN"
	DETaxID    Entity = "DE_TAX_ID"
	FRNIR      Entity = "FR_NIR"
	ESNIF      Entity = "ES_NIF" // the DNI
	ESNIE      Entity = "ES_NIE"
	ITFiscal   Entity = "IT_FISCAL_CODE"
	NLBSN      Entity = "NL_BSN"
	BENational Entity = "BE_NATIONAL_NUMBER"
	PLPESEL    Entity = "PL_PESEL"
	PTNIF      Entity = "PT_NIF"
	CHAHV      Entity = "CH_AHV"
	SEPersonal Entity = "SE_PERSONNUMMER"
	FIPersonal Entity = "FI_PERSONAL_IDENTITY_CODE"
	NOPersonal Entity = "NO_FODSELSNUMMER"
	BRCPF      Entity = "BR_CPF"
	MXCURP     Entity = "MX_CURP"
	CNResident Entity = "CN_RESIDENT_ID"
	KRRRN      Entity = "KR_RRN"
	TRIdentity Entity = "TR_TCKN"
	ZAIdentity Entity = "ZA_ID_NUMBER"
)

// Entities gives every entity that is built in, sorted.
func Entities() []Entity {
	all := []Entity{
		EmailAddress, PhoneNumber, CreditCard, IBAN, IPAddress, MACAddress, Crypto, DateOfBirth, URL, URLCredentials, Secret,
		USSSN, USITIN, UKNINO, UKNHS, CASIN, AUTFN, AUMedicare, INAadhaar, INPAN, SGNRIC, DETaxID, FRNIR, ESNIF, ESNIE,
		ITFiscal, NLBSN, BENational, PLPESEL, PTNIF, CHAHV, SEPersonal, FIPersonal, NOPersonal, BRCPF, MXCURP, CNResident,
		KRRRN, TRIdentity, ZAIdentity,
	}
	slices.Sort(all)
	return all
}

// Default gives the entities that are looked for when none is named: all but URL and MAC_ADDRESS, which seldom name a
// person and are often what a prompt is about.
func Default() []Entity {
	return slices.DeleteFunc(Entities(), func(e Entity) bool { return e == URL || e == MACAddress })
}

// A Finding is one place of a text. Start and End are bytes of the text as it was given, on borders of its characters,
// however the thing was disguised: an address in base64 is found as the whole of the base64.
type Finding struct {
	Entity     Entity
	Start, End int
	Score      float32 // from 0 to 1: the recogniser's own, raised by words of context
	Recognizer string  // which one: "email", "secret/github", the name of a rule or list
	Validated  bool    // a check digit, a checksum or a range has been computed, and holds
}

// A Rule finds what an operator's pattern matches.
type Rule struct {
	Name    string   // unique among rules and lists; Recognizer of its findings
	Entity  Entity   // of its findings; need not be built in
	Pattern string   // RE2. It is matched within a line: "." and negated classes never reach over its end
	Score   float32  // without context; 0 is 0.85
	Context []string // words that raise the score by 0.35 when they stand before the match
}

// A List finds words and phrases, whatever their case, where they stand as whole words.
type List struct {
	Name   string // unique among rules and lists; Recognizer of its findings
	Entity Entity // of its findings; need not be built in
	Words  []string
}

// Options say what a Scanner looks for. The zero value looks for what Default gives.
type Options struct {
	Entities   []Entity           // which of those built in; none is Default. Rules and lists are always looked for
	Threshold  float32            // findings with a lower score are dropped; 0 is 0.5
	Thresholds map[Entity]float32 // the same for one entity
	Rules      []Rule
	Deny       []List
	Allow      []string // texts that are no finding, whatever their case: our own support address
}

const (
	defaultThreshold = 0.5
	defaultRuleScore = 0.85
)

// A Scanner finds what its Options say. It is immutable and serves any number of goroutines.
type Scanner struct {
	floor map[Entity]float32 // the least score of what is looked for; what is not in it is not
	rules []rule
	lines bool     // one of the rules may match over borders of words
	deny  *phrases // nil without
	allow map[string]bool
	work  sync.Pool // *work
}

// New checks o and makes a Scanner of it. The error names the rule, list or entity that is wrong.
func New(o Options) (*Scanner, error) {
	s := &Scanner{floor: map[Entity]float32{}, allow: map[string]bool{}}
	threshold := o.Threshold
	if threshold == 0 {
		threshold = defaultThreshold
	}
	built := Entities()
	wanted := o.Entities
	if len(wanted) == 0 {
		wanted = Default()
	}
	for _, e := range wanted {
		if !slices.Contains(built, e) {
			return nil, fmt.Errorf("no entity %q is built in", e)
		}
		s.floor[e] = threshold
	}
	if err := s.addCustom(o, threshold); err != nil {
		return nil, err
	}
	for _, e := range slices.Sorted(maps.Keys(o.Thresholds)) {
		if !slices.Contains(built, e) && s.floor[e] == 0 {
			return nil, fmt.Errorf("a threshold for %q, which neither is built in nor has a rule", e)
		}
		if s.floor[e] != 0 {
			s.floor[e] = o.Thresholds[e]
		}
	}
	for e, f := range s.floor {
		if !(f > 0 && f <= 1) { // a NaN too
			return nil, fmt.Errorf("threshold of %s: %v is not above 0 and at most 1", e, f)
		}
	}
	for _, text := range o.Allow {
		s.allow[fold(text)] = true
	}
	s.work.New = func() any { return &work{s: s} }
	return s, nil
}

// Scan appends to dst what it finds in text, in the order of the text, and no two findings overlap: of two that would,
// the one with the higher score is given, then the longer one. It takes time linear in the text's length, and
// allocates nothing when there is nothing to be seen.
func (s *Scanner) Scan(text string, dst []Finding) []Finding {
	w := s.work.Get().(*work)
	defer w.done()
	w.collect(text, 0)
	return w.resolve(dst)
}
