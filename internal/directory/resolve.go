package directory

import (
	"net/netip"
	"slices"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// An owner is a subject as it bears on a key.
type owner struct {
	subject string // as llm.Bound names it
	spec    *Spec
}

// owners are the key itself and all that it belongs to, the nearest first. ok is false where one is missing.
func (e *Entry) owners() (list []owner, ok bool) {
	list = []owner{{Subject(KindKey, e.Key.ID), &e.Key.Spec}}
	ok = e.Org != nil && (e.User == nil) == (e.Key.User == "") && (e.Team == nil) == (e.Key.Team == "")
	if e.User != nil {
		list = append(list, owner{Subject(KindUser, e.User.ID), &e.User.Spec})
		ok = ok && (e.Team == nil || slices.Contains(e.User.Teams, e.Team.ID))
	}
	if e.Team != nil {
		list = append(list, owner{Subject(KindTeam, e.Team.ID), &e.Team.Spec})
	}
	if e.Org != nil {
		list = append(list, owner{Subject(KindOrganisation, e.Org.ID), &e.Org.Spec})
	}
	return list, ok
}

// Subject names a subject as its rules' counters do: org:default, team:..., user:..., key:....
func Subject(kind Kind, id string) string {
	if kind == KindOrganisation {
		return "org:" + id
	}
	return string(kind) + ":" + id
}

// Who says what the key may do when it is shown as h: what its own spec and those of all its owners allow
// together. It is worked out anew for each look-up, so whatever an owner loses is lost to all that it has given
// it to. A key with an owner that is gone, or whose user has left its team, is disabled.
func (e *Entry) Who(h auth.Hash) *auth.Who {
	k := &e.Key
	w := &auth.Who{Name: k.Name, ID: k.ID, Org: k.Org, Team: k.Team, User: k.User, Models: k.Spec.Models}
	owners, ok := e.owners()
	w.Disabled = !ok
	for i, o := range owners {
		s := o.spec
		w.Disabled = w.Disabled || s.Disabled
		w.Expires = Earlier(w.Expires, s.Expires)
		if i > 0 && s.Models != nil && !slices.Contains(s.Models, "*") {
			w.Within = append(w.Within, s.Models)
		}
		w.Endpoints = Both(w.Endpoints, s.Endpoints)
		w.Asks = Both(w.Asks, s.Asks)
		w.AllowFrom = bothPrefixes(w.AllowFrom, s.AllowFrom)
		w.Tags = append(w.Tags, s.Tags...)
		w.Guards = append(w.Guards, s.Guards...)
		w.Cache = auth.LeastCache(w.Cache, s.Cache)
		if w.Project == "" {
			w.Project = s.Project
		}
		for j := range s.Rules {
			w.Rules = append(w.Rules, llm.Bound{Subject: o.subject, Rule: &s.Rules[j]})
		}
	}
	slices.Sort(w.Tags)
	w.Tags = slices.Compact(w.Tags)
	slices.Sort(w.Guards)
	w.Guards = slices.Compact(w.Guards)
	if h != k.Hash { // the key before the last rotation
		w.Disabled = w.Disabled || h != k.OldHash || k.OldEnds.IsZero()
		w.Expires = Earlier(w.Expires, k.OldEnds)
	}
	return w
}

// Earlier is the earlier of two times of which zero is never.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Both is what two lists have in common, of which nil holds everything.
func Both[T comparable](a, b []T) []T {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	common := []T{} // not nil: nothing
	for _, v := range a {
		if slices.Contains(b, v) {
			common = append(common, v)
		}
	}
	return common
}

// bothPrefixes are the addresses that two lists have in common, of which nil holds all: of two prefixes one is
// inside the other, or they are apart.
func bothPrefixes(a, b []netip.Prefix) []netip.Prefix {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	common := []netip.Prefix{}
	for _, p := range a {
		for _, q := range b {
			if p.Overlaps(q) {
				if q.Bits() > p.Bits() {
					common = append(common, q)
				} else {
					common = append(common, p)
				}
			}
		}
	}
	return common
}
