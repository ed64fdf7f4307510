package same

import "strings"

// odd are forms that no rule makes.
var odd = pairs(`children=child men=man women=woman people=person persons=person feet=foot teeth=tooth mice=mouse lives=life wives=wife
	knives=knife leaves=leave went=go gone=go goes=go made=make took=take taken=take found=find lost=lose bought=buy sold=sell
	wrote=write written=write knew=know known=know thought=think got=get gotten=get became=become began=begin begun=begin
	spoke=speak spoken=speak broke=break broken=break chose=choose chosen=choose gave=give given=give kept=keep left=leave
	paid=pay said=say sent=send spent=spend told=tell won=win built=build taught=teach caught=catch died=die dying=die lying=lie
	news=news means=means series=series species=species physics=physics always=always perhaps=perhaps gas=gas lens=lens bus=bus
	thing=thing during=during nothing=nothing something=something everything=everything anything=anything king=king
	programme=program favourite=favorite colour=color used=use using=use uses=use centre=center organise=organize`)

// stem takes a word's inflection away (plural, -ed, -ing), and nothing else. The stemmers of search engines go further: to
// them police is policy, and a university the universe. There a word too many is found; here a wrong answer would be given.
func stem(w string) string {
	if s, ok := odd[w]; ok {
		return silent(s)
	}
	switch {
	case len(w) < 4:
		return w
	case strings.HasSuffix(w, "ies") && len(w) > 4:
		w = w[:len(w)-3] + "y"
	case strings.HasSuffix(w, "sses"), strings.HasSuffix(w, "xes"), strings.HasSuffix(w, "ches"), strings.HasSuffix(w, "shes"):
		w = w[:len(w)-2]
	case strings.HasSuffix(w, "ss"), strings.HasSuffix(w, "us"), strings.HasSuffix(w, "is"):
	case strings.HasSuffix(w, "s"):
		w = w[:len(w)-1]
	}
	switch {
	case strings.HasSuffix(w, "ied") && len(w) > 4:
		return w[:len(w)-3] + "y"
	case strings.HasSuffix(w, "eed"):
	case strings.HasSuffix(w, "ed"):
		w = root(w, w[:len(w)-2])
	case strings.HasSuffix(w, "ing"):
		w = root(w, w[:len(w)-3])
	}
	return silent(w)
}

// silent takes away the e that a word loses before an ending: make and making.
func silent(w string) string {
	if len(w) > 3 && strings.HasSuffix(w, "e") {
		return w[:len(w)-1]
	}
	return w
}

// root is what is left of w without its ending, unless that is no word: it has a vowel and three letters at least. A letter that was
// doubled before the ending is one again.
func root(w, left string) string {
	if len(left) < 3 || !strings.ContainsAny(left, "aeiouy") {
		return w
	}
	n := len(left)
	if left[n-1] == left[n-2] && !strings.Contains("lsz", left[n-1:]) {
		return left[:n-1]
	}
	return left
}
