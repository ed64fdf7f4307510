package pii

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// A rule is a Rule, compiled.
type rule struct {
	Rule
	re      *regexp.Regexp
	context map[string]bool
	lines   bool // it may match over a border of words, or asks where a line ends
}

// addCustom takes the operator's rules and lists into s.
func (s *Scanner) addCustom(o Options, threshold float32) error {
	names := map[string]bool{}
	name := func(n string, e Entity) error {
		if n == "" || names[n] {
			return fmt.Errorf("rule %q: a rule or list needs a name of its own", n)
		}
		if e == "" {
			return fmt.Errorf("rule %q names no entity", n)
		}
		names[n] = true
		if s.floor[e] == 0 {
			s.floor[e] = threshold
		}
		return nil
	}
	for _, r := range o.Rules {
		if err := name(r.Name, r.Entity); err != nil {
			return err
		}
		c, err := compile(r)
		if err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		s.rules = append(s.rules, c)
		s.lines = s.lines || c.lines
	}
	for _, l := range o.Deny {
		if err := name(l.Name, l.Entity); err != nil {
			return err
		}
	}
	var err error
	s.deny, err = newPhrases(o.Deny)
	return err
}

func compile(r Rule) (rule, error) {
	tree, err := syntax.Parse(r.Pattern, syntax.Perl)
	if err != nil {
		return rule{}, err
	}
	if empty(tree) {
		return rule{}, fmt.Errorf("the pattern matches the empty text")
	}
	re, err := regexp.Compile(r.Pattern)
	if err != nil {
		return rule{}, err
	}
	if r.Score < 0 || r.Score > 1 {
		return rule{}, fmt.Errorf("score %v is not from 0 to 1", r.Score)
	}
	if r.Score == 0 {
		r.Score = defaultRuleScore
	}
	c := rule{Rule: r, re: re, context: map[string]bool{}, lines: crosses(tree)}
	for _, word := range r.Context {
		c.context[fold(word)] = true
	}
	return c, nil
}

// empty says whether a pattern matches without a character.
func empty(p *syntax.Regexp) bool {
	switch p.Op {
	case syntax.OpLiteral:
		return len(p.Rune) == 0
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpNoMatch:
		return false
	case syntax.OpCapture, syntax.OpPlus:
		return empty(p.Sub[0])
	case syntax.OpRepeat:
		return p.Min == 0 || empty(p.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(p.Sub, func(q *syntax.Regexp) bool { return !empty(q) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(p.Sub, empty)
	}
	return true
}

// crosses says whether a pattern can match a border of words (isBorder) or looks at the ends of a line.
func crosses(p *syntax.Regexp) bool {
	switch p.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText:
		return true
	case syntax.OpLiteral:
		return slices.ContainsFunc(p.Rune, isBorder)
	case syntax.OpCharClass:
		for k := 0; k < len(p.Rune); k += 2 {
			lo, hi := p.Rune[k], p.Rune[k+1]
			if hi >= firstIdeograph || slices.ContainsFunc([]rune(" \n\t\r"), func(r rune) bool { return lo <= r && r <= hi }) {
				return true
			}
		}
	}
	return slices.ContainsFunc(p.Sub, crosses)
}

// custom runs the rules over each line of the view, and the lists over each word.
func (s *Scanner) custom(w *work) {
	if s.deny != nil {
		s.deny.find(w)
	}
	if len(s.rules) == 0 {
		return
	}
	for at := w.from; at < len(w.view); {
		line := w.view[at:]
		if n := strings.IndexByte(line, '\n'); n >= 0 {
			line = line[:n]
		}
		for k := range s.rules {
			s.rules[k].find(w, line, at)
		}
		at += len(line) + 1
	}
}

func (r *rule) find(w *work, line string, at int) {
	for _, m := range r.re.FindAllStringIndex(line, -1) {
		score := r.Score
		if w.near(at+m[0], r.context) {
			score += contextBoost
		}
		w.add(r.Entity, at+m[0], at+m[1], score, r.Name, false)
	}
}
