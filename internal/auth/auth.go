package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/llm"
)

// Who is a caller: a key and what it may do. It is immutable and shared.
type Who struct {
	Name      string         // what people call the key
	ID        string         // its public part; "" when only its hash is known
	Org       string         // whose money it is, and who sees whom; never ""
	Team      string         // "": none
	User      string         // "": a service key
	Project   string         // "": none
	Models    []string       // globs of model names, as clients say them; none: no model
	Within    [][]string     // what its owners allow: of each of these lists a glob must fit, too
	Endpoints []llm.Op       // kinds of call; nil: all; empty: none
	Disabled  bool           //
	Expires   time.Time      // zero: never
	AllowFrom []netip.Prefix // addresses that its callers may have; nil: any; empty: none
	Tags      []string       // that a deployment must have to serve it
	Guards    []string       // that its calls must pass, beside those of their model
	Asks      []string       // what its requests may ask for by header; nil: everything
	Cache     string         // how far answers may be kept for it: off, exact, semantic; "": not said here
	Rules     []llm.Bound
	Labels    []string // that its calls' accounts are to have, sorted
}

// What a request may ask for by header.
const (
	AskStrategy = "strategy"
	AskFallback = "fallback"
	AskDeadline = "deadline"
	AskTags     = "tags"
)

// Words for how far answers are kept, the least first.
var cacheWords = []string{"off", "exact", "semantic"}

// LeastCache is the lesser of two of off, exact and semantic, of which "" says nothing.
func LeastCache(a, b string) string {
	if a == "" || b != "" && slices.Index(cacheWords, b) < slices.Index(cacheWords, a) {
		return b
	}
	return a
}

// MayAsk tells whether the key's requests may ask for something.
func (w *Who) MayAsk(what string) error {
	if w.Asks == nil || slices.Contains(w.Asks, what) {
		return nil
	}
	return llm.Errorf(llm.KindModelNotAllowed, "this key's requests may not choose their %s; leave the header out", what)
}

// Public names the key in logs: its public part, else its name. It holds no secret.
func (w *Who) Public() string {
	if w.ID != "" {
		return w.ID
	}
	return w.Name
}

// Allows tells whether the key may use a model.
func (w *Who) Allows(model string) bool {
	if !fits(w.Models, model) {
		return false
	}
	for _, globs := range w.Within {
		if !fits(globs, model) {
			return false
		}
	}
	return true
}

func fits(globs []string, model string) bool {
	for _, glob := range globs {
		if llm.Match(glob, model) {
			return true
		}
	}
	return false
}

// Permits tells whether the key may make this kind of call.
func (w *Who) Permits(op llm.Op) error {
	if w.Endpoints == nil || slices.Contains(w.Endpoints, op) {
		return nil
	}
	return llm.Errorf(llm.KindModelNotAllowed, "this key may not make calls of the kind %s", op)
}

// A Hash stands for a key in every store: HMAC-SHA-256, under the server's pepper, of the key's SHA-256.
// The inner hash lets a configuration name a key by its SHA-256; the pepper makes a stolen store worthless.
type Hash [sha256.Size]byte

// String is the hash as stores write it.
func (h Hash) String() string { return "hmac-sha256:" + hex.EncodeToString(h[:]) }

// ParseHash reads what String wrote.
func ParseHash(s string) (h Hash, err error) {
	digits, ok := strings.CutPrefix(s, "hmac-sha256:")
	if b, e := hex.DecodeString(digits); ok && e == nil && len(b) == len(h) {
		return Hash(b), nil
	}
	return h, fmt.Errorf("not a key hash: want hmac-sha256: and %d hex digits", 2*len(h))
}

// A Hasher hashes keys under one pepper.
type Hasher struct {
	pepper []byte
	macs   sync.Pool
}

// NewHasher makes a hasher.
func NewHasher(pepper []byte) *Hasher {
	h := &Hasher{pepper: slices.Clone(pepper)}
	h.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, h.pepper)} }
	return h
}

type mac struct {
	hash.Hash
	in, out []byte
}

// Key hashes a whole key.
func (h *Hasher) Key(key string) Hash {
	m := h.macs.Get().(*mac)
	m.in = append(m.in[:0], key...)
	sum := sha256.Sum256(m.in)
	clear(m.in)
	return h.sum(m, sum)
}

// Sum hashes a key of which only the SHA-256 is known.
func (h *Hasher) Sum(sum [sha256.Size]byte) Hash { return h.sum(h.macs.Get().(*mac), sum) }

func (h *Hasher) sum(m *mac, sum [sha256.Size]byte) (out Hash) {
	m.Reset()
	m.in = append(m.in[:0], sum[:]...)
	_, _ = m.Write(m.in)
	m.out = m.Sum(m.out[:0])
	copy(out[:], m.out)
	h.macs.Put(m)
	return out
}

// Keys finds keys by hash. It returns nil and no error for an unknown one, which must cost what a known
// one costs.
type Keys interface {
	Key(ctx context.Context, h Hash) (*Who, error)
}

// Memory is Keys in memory. It is immutable.
type Memory map[Hash]*Who

// Key implements Keys.
func (m Memory) Key(_ context.Context, h Hash) (*Who, error) { return m[h], nil }

// A Chain is Keys in several places: the first that knows a key counts.
type Chain []Keys

// Key implements Keys.
func (c Chain) Key(ctx context.Context, h Hash) (*Who, error) {
	for _, keys := range c {
		if who, err := keys.Key(ctx, h); who != nil || err != nil {
			return who, err
		}
	}
	return nil, nil //nolint:nilnil // the interface asks for it
}

// An Authenticator tells who makes a request.
type Authenticator struct {
	hasher  *Hasher
	keys    Keys
	revoked *Revoked
	now     func() time.Time
}

// New makes an authenticator. No key is revoked when revoked is nil; now is time.Now when nil.
func New(hasher *Hasher, keys Keys, revoked *Revoked, now func() time.Time) *Authenticator {
	if now == nil {
		now = time.Now
	}
	return &Authenticator{hasher: hasher, keys: keys, revoked: revoked, now: now}
}

const maxKey = 512 // bytes

var (
	errMissing = &llm.Error{Kind: llm.KindInvalidKey, Msg: "no API key was sent; send it as Authorization: Bearer KEY, x-api-key or x-goog-api-key"}
	errSeveral = &llm.Error{Kind: llm.KindInvalidKey, Msg: "the request carries two different API keys; send one"}
	errInURL   = &llm.Error{Kind: llm.KindInvalidKey, Msg: "an API key in the URL is taken as key= on /v1beta/ paths only: URLs end up in logs; send it in a header"}
)

// errUnknown is made once: whoever floods the gateway with keys costs it little.
var errUnknown = refused("the key is unknown")

// refused is the one answer to a key that does not open the door: whoever tries keys, or has found one, does not
// learn whether it is unknown, mistyped, disabled, expired or shown from the wrong place. why is for the log.
func refused(format string, args ...any) error {
	return &llm.Error{
		Kind: llm.KindInvalidKey, Err: fmt.Errorf(format, args...),
		Msg: "the API key is not valid: it is unknown, disabled or expired, or may not be used from this address",
	}
}

// Identify finds the caller by the key that the request carries. A key in the URL is taken out of it,
// whatever comes of it.
func (a *Authenticator) Identify(r *http.Request) (*Who, error) {
	key, err := credential(r)
	if err != nil {
		return nil, err
	}
	if len(key) > maxKey {
		return nil, refused("the key has %d bytes", len(key))
	}
	// One path for every key, by its hash alone: nothing that is compared, and no time that is taken, depends on
	// how near a wrong key comes to a right one.
	who, err := a.keys.Key(r.Context(), a.hasher.Key(key))
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up key: %w", err)
	case who == nil:
		return nil, errUnknown
	case who.Disabled || a.revoked.Has(who):
		return nil, refused("the key %s is disabled", who.Public())
	case !who.Expires.IsZero() && !a.now().Before(who.Expires):
		return nil, refused("the key %s has expired", who.Public())
	case who.AllowFrom != nil && !within(who.AllowFrom, r.RemoteAddr):
		return nil, refused("the key %s may not be used from %s", who.Public(), r.RemoteAddr)
	}
	return who, nil
}

// within tells whether a peer's address is in one of the prefixes. An IPv4 address inside IPv6 counts as IPv4.
func within(allowed []netip.Prefix, peer string) bool {
	at, err := netip.ParseAddrPort(peer)
	if err != nil {
		return false
	}
	addr := at.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// credential reads the one key that a request carries, in any of the forms that the vendors' SDKs use.
func credential(r *http.Request) (string, error) {
	key := ""
	several := false
	take := func(v string) {
		if v = strings.TrimSpace(v); v != "" {
			several = several || key != "" && key != v
			key = v
		}
	}
	fromURL, err := takeFromURL(r)
	if err != nil {
		return "", err
	}
	take(fromURL)
	for _, v := range r.Header["Authorization"] {
		if scheme, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "bearer") {
			take(token)
		}
	}
	for _, name := range [...]string{"X-Api-Key", "X-Goog-Api-Key", "Api-Key"} {
		for _, v := range r.Header[name] {
			take(v)
		}
	}
	switch {
	case several:
		return "", errSeveral
	case key == "":
		return "", errMissing
	}
	return key, nil
}

// keyNames are the query parameters that people put a key in, in lower case. Only the first is any API's own.
var keyNames = []string{"key", "api_key", "api-key", "apikey", "x-api-key", "x-goog-api-key", "access_token"}

// takeFromURL removes every key from the request's URL, so that nothing after us can log it or send it on.
// Gemini's clients put it there as key=; nobody else may. One of our own is found under any name.
func takeFromURL(r *http.Request) (string, error) {
	if r.URL.RawQuery == "" {
		return "", nil
	}
	var keep []string
	key, found, several := "", false, false
	allowed := strings.HasPrefix(r.URL.Path, "/v1beta/")
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value := param(pair)
		switch {
		case strings.EqualFold(name, keyNames[0]):
			several = several || found && value != key
			key, found = value, true
		case slices.Contains(keyNames, strings.ToLower(name)) || strings.Contains(name, prefix) || strings.Contains(value, prefix):
			found, allowed = true, false
		default:
			keep = append(keep, pair)
		}
	}
	if !found {
		return "", nil
	}
	r.URL.RawQuery = strings.Join(keep, "&")
	r.RequestURI = r.URL.RequestURI()
	r.Form = nil
	switch {
	case !allowed:
		return "", errInURL
	case several:
		return "", errSeveral
	}
	return key, nil
}

// param unescapes one pair of a query. What has a broken escape stays as it is: it is still looked at.
func param(pair string) (name, value string) {
	name, value, _ = strings.Cut(pair, "=")
	if s, err := url.QueryUnescape(name); err == nil {
		name = s
	}
	if s, err := url.QueryUnescape(value); err == nil {
		value = s
	}
	return name, value
}
