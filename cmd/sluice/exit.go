package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/internal/bench"
	"sluice/internal/config"
)

// Exit codes. exitCodesHelp and docs/operations.md tell people of them.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitFound   = 3
	exitRefused = 4
	exitChanged = 5
)

const exitCodesHelp = `How a command ended:

    0   All went well.
    1   It failed: what it needed was not there, or did not work.
    2   The command line or the configuration is wrong; nothing was done.
    3   It looked for faults and found some: doctor, ledger verify,
        ledger recompute, audit verify, bench --check.
    4   The gateway refused the caller: no token, a wrong one, or one that may
        not do this (401, 403).
    5   It is taken, in use, or was changed by somebody else meanwhile
        (409, 412).

What went wrong is written to standard error. With --json that is an object of problem details (RFC 9457): type, title, detail, code, exit_code, the status if a gateway gave one, and errors, one for each thing at fault.`

// errFound begins the error of a command that did its work and found faults.
var errFound = errors.New("faults were found")

// A faults error says which.
type faults string

func (f faults) Error() string   { return string(f) }
func (faults) Is(err error) bool { return err == errFound }

// An answered error is what a gateway, or the store in its place, said instead of doing what it was asked.
type answered struct {
	Status int
	Code   string
	Detail string
	Errors []fault

	text string
}

func (a *answered) Error() string { return a.text }

// A fault is one thing that is wrong.
type fault struct {
	Pointer string `json:"pointer,omitempty"` // of a request's body
	Path    string `json:"path,omitempty"`    // of a configuration, as are these:
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Detail  string `json:"detail"`
}

// refusal is an answer of problem details as an error. The text of it begins with where, and is otherwise where it says nothing.
func refusal(status int, answer []byte, where, otherwise string) *answered {
	a := &answered{Status: status}
	_ = json.Unmarshal(answer, a)
	a.Status, a.text = status, where+or(a.Detail, otherwise)
	return a
}

// A complaint is how an error is told to a program.
type complaint struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status,omitempty"` // of a gateway's answer
	Detail string  `json:"detail"`
	Code   string  `json:"code"`
	Exit   int     `json:"exit_code"`
	Errors []fault `json:"errors,omitempty"`
}

// complain tells an error, and gives the code to exit with.
func complain(w io.Writer, err error, asJSON bool) int {
	c := complaintOf(err)
	if asJSON {
		_ = printJSON(w, c)
		return c.Exit
	}
	fmt.Fprintln(w, "sluice:", strings.TrimSpace(err.Error()))
	if _, ok := errors.AsType[*misuse](err); ok {
		fmt.Fprintln(w, "Run sluice --help for what there is.")
	}
	return c.Exit
}

func complaintOf(err error) complaint {
	c := complaint{Title: "It failed", Detail: strings.TrimSpace(err.Error()), Code: "failed", Exit: exitFailed}
	if _, ok := errors.AsType[*misuse](err); ok {
		c.Title, c.Code, c.Exit = "The command line is wrong", "usage", exitUsage
	} else if e, ok := errors.AsType[*config.Error](err); ok {
		c.Title, c.Code, c.Exit = "The configuration is wrong", "configuration", exitUsage
		for _, p := range e.Problems {
			c.Errors = append(c.Errors, fault{File: p.File, Line: p.Line, Column: p.Col, Path: p.Path, Detail: p.Msg})
		}
	} else if a, ok := errors.AsType[*answered](err); ok {
		c.Title, c.Status, c.Code, c.Errors = http.StatusText(a.Status), a.Status, or(a.Code, c.Code), a.Errors
		switch a.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			c.Exit = exitRefused
		case http.StatusConflict, http.StatusPreconditionFailed:
			c.Exit = exitChanged
		}
	} else if errors.Is(err, errFound) || errors.Is(err, bench.ErrAboveBar) {
		c.Title, c.Code, c.Exit = "Faults were found", "faults", exitFound
	}
	c.Type = "urn:sluice:error:" + c.Code
	return c
}

// A misuse is a command line that is wrong.
type misuse struct{ error }

// wantsJSON tells whether a command, or a command line that is no command, asks for JSON.
func wantsJSON(c *cobra.Command, args []string) bool {
	if f := c.Flags().Lookup("json"); f != nil && f.Value.Type() == "bool" {
		return f.Value.String() == "true" || slices.Contains(args, "--json")
	}
	return false
}
