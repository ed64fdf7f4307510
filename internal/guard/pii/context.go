package pii

import "strings"

// contextBoost is what a word of context adds to a score, as in Presidio.
const contextBoost = 0.35

const (
	contextBefore = 64 // bytes before a candidate in which words count
	contextAfter  = 12 // and after it
)

// A topic is what a word beside a number says that the number is.
type topic uint64

const (
	aboutPhone topic = 1 << iota
	aboutCard
	aboutBank
	aboutBirth
	aboutAddress // of a network
	aboutVersion
	aboutOrder // numbers of orders, tickets, invoices: whatever has a number of its own
	aboutWallet
	aboutID // of persons, anywhere
	aboutSSN
	aboutHealth
	aboutTax
	aboutInsurance
	aboutUK
	aboutCA
	aboutAU
	aboutIN
	aboutSG
	aboutDE
	aboutFR
	aboutES
	aboutIT
	aboutNL
	aboutBE
	aboutPL
	aboutPT
	aboutCH
	aboutSE
	aboutFI
	aboutNO
	aboutBR
	aboutMX
	aboutCN
	aboutKR
	aboutTR
	aboutZA
)

// topics are the words that count, in lower case.
var topics = topicsOf(map[topic]string{
	aboutPhone: `phone phones telephone tel telefon telefono teléfono téléphone telefone mobile mobil móvil portable cell
		cellphone handy handynummer fax call calls called calling dial ring text sms texting message messages whatsapp signal
		contact reach reached office desk hotline voicemail landline answering numero numéro número telefoon puhelin komórka`,
	aboutCard: `card cards cc credit debit visa mastercard amex maestro discover diners jcb unionpay kreditkarte karte
		carte tarjeta carta cartão kaart pan payment`,
	aboutBank: `iban bank account konto compte cuenta conto rekening bic swift`,
	aboutBirth: `birth birthday birthdate born dob bday geboren geburtsdatum geburtstag geb né née naissance nacimiento
		nacido nacida nascita nato nata nascimento geboortedatum urodzenia urodzony född syntynyt født`,
	aboutAddress: `ip ipv4 ipv6 address addr host server client gateway dns router subnet endpoint ping ssh`,
	aboutVersion: `version versions ver v release build firmware sdk upgrade upgraded section chapter`,
	aboutOrder: `order orders ticket invoice tracking sku isbn issn serial part item case reference ref transaction
		bestellung rechnung commande facture pedido factura timestamp epoch commit hash page zip postcode plz version`,
	aboutWallet:    `wallet bitcoin btc ethereum eth crypto address send coins usdt`,
	aboutID:        `id identity national identification identifier personal citizen passport ausweis`,
	aboutSSN:       `ssn ssns social security itin tin taxpayer`,
	aboutHealth:    `nhs health patient medical medicare hospital`,
	aboutTax:       `tax tfn taxpayer fiscal steuer pan`,
	aboutInsurance: `insurance nino ni`,
	aboutUK:        `nhs nino`,
	aboutCA:        `sin nas canadian canada`,
	aboutAU:        `tfn medicare australian`,
	aboutIN:        `aadhaar aadhar uidai uid pan`,
	aboutSG:        `nric fin singapore`,
	aboutDE:        `steuer steuerid idnr steuernummer steueridentifikationsnummer identifikationsnummer`,
	aboutFR:        `nir sécu sécurité sociale insee vitale`,
	aboutES:        `dni nif nie`,
	aboutIT:        `codice fiscale cf`,
	aboutNL:        `bsn burgerservicenummer sofinummer sofi`,
	aboutBE:        `rijksregister rijksregisternummer insz niss national registre`,
	aboutPL:        `pesel`,
	aboutPT:        `nif contribuinte fiscal`,
	aboutCH:        `ahv avs navs ahvn13`,
	aboutSE:        `personnummer pnr samordningsnummer`,
	aboutFI:        `hetu henkilötunnus`,
	aboutNO:        `fødselsnummer fodselsnummer personnummer fnr`,
	aboutBR:        `cpf contribuinte`,
	aboutMX:        `curp`,
	aboutCN:        `身份证 身份证号 resident`,
	aboutKR:        `rrn 주민등록번호 resident`,
	aboutTR:        `tckn tc kimlik`,
	aboutZA:        `rsa south african`,
})

func topicsOf(words map[topic]string) map[string]topic {
	of := map[string]topic{}
	for t, list := range words {
		for _, word := range strings.Fields(list) {
			of[word] |= t
		}
	}
	return of
}

// about gives what the words before start and just after end are about.
func (w *work) about(start, end int) (t topic) {
	eachWord(w.view, start-contextBefore, start, func(word []byte) bool {
		t |= topics[string(word)]
		return true
	})
	eachWord(w.view, end, end+contextAfter, func(word []byte) bool {
		t |= topics[string(word)] & (aboutPhone | aboutSSN | aboutCard)
		return true
	})
	return t
}

// near says whether one of words stands before start.
func (w *work) near(start int, words map[string]bool) (is bool) {
	if len(words) > 0 {
		eachWord(w.view, start-contextBefore, start, func(word []byte) bool {
			is = words[string(word)]
			return !is
		})
	}
	return is
}

// eachWord gives the words that lie wholly in the bytes from to to of text, folded, until it is told that it is enough.
// A word that is cut at either border is left out.
func eachWord(text string, from, to int, yield func([]byte) bool) {
	var buf [contextBefore]byte
	from, to = max(0, from), min(len(text), to)
	for from > 0 && from < to && wordByte(text[from]) && wordByte(text[from-1]) {
		from++
	}
	for i := from; i < to; {
		if !wordByte(text[i]) {
			i++
			continue
		}
		end := i
		for end < len(text) && end-i < contextBefore && wordByte(text[end]) {
			end++
		}
		if end > to || !yield(foldInto(buf[:0], text[i:end])) {
			return
		}
		i = end
	}
}

// wordByte says whether c is part of a word: letters and digits of ASCII, and all that is not ASCII.
func wordByte(c byte) bool { return isAlnum(c) || c >= 0x80 }
