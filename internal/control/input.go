package control

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/auth"
	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// A Maybe is a member that may be left out. null gives its zero value.
type Maybe[T any] struct {
	Given bool
	Value T
}

// Some is a member that is given.
func Some[T any](v T) Maybe[T] { return Maybe[T]{true, v} }

// IsZero tells encoders to leave it out.
func (m Maybe[T]) IsZero() bool { return !m.Given }

// UnmarshalJSONFrom reads the value, as strictly as what it is a part of.
func (m *Maybe[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	m.Given = true
	return json.UnmarshalDecode(d, &m.Value)
}

// MarshalJSONTo writes the value.
func (m Maybe[T]) MarshalJSONTo(e *jsontext.Encoder) error { return json.MarshalEncode(e, m.Value) }

// A Change is what people may say about any subject. What is left out stays as it is (of a new one: is not
// restricted); null takes a restriction away. It has no member for anything that is not theirs to say: ids,
// versions, who made it, whether it is disabled.
type Change struct {
	Name      Maybe[string]            `json:"name,omitzero"`
	Models    Maybe[[]string]          `json:"models,omitzero"`
	Endpoints Maybe[[]string]          `json:"endpoints,omitzero"`
	Rules     Maybe[[]rules.Rule]      `json:"rules,omitzero"`
	AllowFrom Maybe[[]string]          `json:"allow_from,omitzero"`
	Tags      Maybe[[]string]          `json:"tags,omitzero"`
	Guards    Maybe[[]string]          `json:"guards,omitzero"`    // that calls must pass, beside those of owners and models
	Overrides Maybe[[]string]          `json:"overrides,omitzero"` // what calls may ask for by header, as in sluice.yaml
	Cache     Maybe[string]            `json:"cache,omitzero"`     // how far answers are kept for it: off, exact or semantic
	Project   Maybe[string]            `json:"project,omitzero"`
	Metadata  Maybe[map[string]string] `json:"metadata,omitzero"`
	Expires   Maybe[string]            `json:"expires,omitzero"`
}

// Update is a change of a record, and the version that it was read at; 0: of whatever is there.
type Update struct {
	Version int64 `json:"-"` // said beside what is changed: by If-Match
	Change
}

// At bounds it to a version.
func (u *Update) At(version int64) { u.Version = version }

// problems gathers all that is wrong with an input.
type problems []llm.Problem

func (p *problems) add(at, format string, args ...any) {
	*p = append(*p, llm.Problem{At: at, Msg: fmt.Sprintf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &llm.Error{Kind: llm.KindInvalid, Msg: "what was sent cannot be taken", Problems: p}
}

const (
	maxName     = 128 // characters
	maxMetadata = 64  // members
	maxValue    = 1024
	maxList     = 100
)

// apply changes a record, or says everything that is wrong with the change.
func (ch *Change) apply(b *directory.Record) error {
	var p problems
	s := &b.Spec
	if ch.Name.Given {
		if why := nameProblem(ch.Name.Value); why != "" {
			p.add("/name", "%s", why)
		}
		b.Name = ch.Name.Value
	}
	if ch.Models.Given {
		p = append(p, rules.Globs("/models", ch.Models.Value)...)
		s.Models = ch.Models.Value
	}
	if ch.Rules.Given {
		list, wrong := rules.Read(ch.Rules.Value)
		for _, w := range wrong {
			p.add("/rules"+w.At, "%s", w.Msg)
		}
		s.Rules = list
	}
	if ch.Endpoints.Given {
		s.Endpoints = words[llm.Op](&p, "/endpoints", ch.Endpoints.Value, []string{string(llm.OpChat), string(llm.OpCount), string(llm.OpEmbed)})
	}
	if ch.Overrides.Given {
		s.Asks = words[string](&p, "/overrides", ch.Overrides.Value, []string{auth.AskStrategy, auth.AskFallback, auth.AskDeadline, auth.AskTags})
	}
	if ch.AllowFrom.Given {
		s.AllowFrom = p.prefixes("/allow_from", ch.AllowFrom.Value)
	}
	if ch.Tags.Given {
		s.Tags = ch.Tags.Value
		p.tags("/tags", s.Tags)
	}
	if ch.Cache.Given {
		if s.Cache = ch.Cache.Value; !slices.Contains([]string{"", "off", "exact", "semantic"}, s.Cache) {
			p.add("/cache", "is %q: must be off, exact or semantic", clip(s.Cache))
		}
	}
	if ch.Guards.Given {
		s.Guards = ch.Guards.Value
		p.guards("/guards", s.Guards)
	}
	if ch.Project.Given {
		if s.Project = ch.Project.Value; s.Project != "" && !IsProject(s.Project) {
			p.add("/project", "%q is no name of a project: take up to 64 letters, digits, dots, _ and -", clip(s.Project))
		}
	}
	if ch.Metadata.Given {
		s.Metadata = ch.Metadata.Value
		p.metadata("/metadata", s.Metadata)
	}
	if ch.Expires.Given {
		s.Expires = time.Time{}
		if ch.Expires.Value != "" {
			var err error
			if s.Expires, err = rules.ParseTime(ch.Expires.Value); err != nil {
				p.add("/expires", "%s", err)
			}
		}
	}
	return p.err()
}

var (
	projectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	emailForm   = regexp.MustCompile(`^[^\s@"<>]{1,64}@[^\s@"<>]{1,190}$`)
)

// words reads a list of known words. nil stays nil: not restricted.
func words[T ~string](p *problems, at string, list, known []string) (out []T) {
	if list != nil {
		out = []T{}
	}
	for i, w := range list {
		if !slices.Contains(known, w) || slices.Contains(out, T(w)) {
			p.add(fmt.Sprintf("%s/%d", at, i), "is %q: must be one of %s, each once", clip(w), strings.Join(known, ", "))
			continue
		}
		out = append(out, T(w))
	}
	return out
}

// prefixes reads address ranges, or single addresses, in their shortest form.
func (p *problems) prefixes(at string, list []string) (out []netip.Prefix) {
	if list != nil {
		out = []netip.Prefix{}
	}
	if len(list) > maxList {
		p.add(at, "has %d entries; %d are allowed", len(list), maxList)
		return out
	}
	for i, s := range list {
		r, err := netip.ParsePrefix(s)
		if addr, e := netip.ParseAddr(s); e == nil && addr.Zone() == "" {
			r, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err == nil && r.Addr().Is4In6() {
			err = errors.New("mapped")
		}
		if err != nil {
			p.add(fmt.Sprintf("%s/%d", at, i), "is %q: must be a range such as 10.20.0.0/16 or 2001:db8::/32, or an address", clip(s))
			continue
		}
		out = append(out, r.Masked())
	}
	return out
}

func (p *problems) tags(at string, tags []string) {
	if len(tags) > maxList {
		p.add(at, "has %d entries; %d are allowed", len(tags), maxList)
		return
	}
	for i, tag := range tags {
		if tag == "" || len(tag) > 64 || strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' }) {
			p.add(fmt.Sprintf("%s/%d", at, i), "is %q: a tag is one word of up to 64 ASCII characters without commas", clip(tag))
		}
	}
}

// guardName is what a guard of the configuration may be called.
var guardName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,127}$`)

func (p *problems) guards(at string, names []string) {
	if len(names) > maxList {
		p.add(at, "has %d entries; %d are allowed", len(names), maxList)
		return
	}
	for i, name := range names {
		if !guardName.MatchString(name) {
			p.add(fmt.Sprintf("%s/%d", at, i), "is %q, which no guard is called", clip(name))
		}
	}
}

func (p *problems) metadata(at string, m map[string]string) {
	if len(m) > maxMetadata {
		p.add(at, "has %d members; %d are allowed", len(m), maxMetadata)
		return
	}
	for name, v := range m {
		if len(name) > 64 || len(v) > maxValue || !isText(name) || !isText(v) {
			p.add(at, "the member %q must have a name of up to 64 and a value of up to %d bytes of text without control characters", clip(name), maxValue)
		}
	}
}

// nameProblem says what is wrong with a name, "" for nothing.
func nameProblem(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "is missing: give a name by which people know it"
	case utf8.RuneCountInString(s) > maxName:
		return fmt.Sprintf("has more than %d characters", maxName)
	case !isText(s):
		return "holds a control character or is no text"
	case strings.TrimSpace(s) != s:
		return "begins or ends with a space"
	}
	return ""
}

// IsProject tells whether a text may be the name of a project, which keys say that they belong to.
func IsProject(s string) bool { return projectName.MatchString(s) }

// isText tells whether a text is one that every store keeps and every terminal can show.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// isID tells whether a text has the form of an id.
func isID(s string) bool { return s == directory.DefaultOrganisation || auth.IsPublic(s) }

// clip bounds what an answer repeats of what was sent.
func clip(s string) string {
	if s = strings.ToValidUTF8(s, "�"); len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
