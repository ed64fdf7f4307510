package admin

import "time"

// Recount is what POST /admin/ledger/recompute takes.
type Recount struct {
	Fix bool `json:"fix"` // make sums right, and have counters that are wrong counted anew
}

// Recounted is what a recount found. Lists are cut where they get long; the numbers beside them are whole.
type Recounted struct {
	Oldest   time.Time      `json:"rows_since,omitzero"` // what is older has no rows to be held against; left out: nothing is
	Sums     SumsReport     `json:"sums"`
	Counters CountersReport `json:"counters"`
}

// SumsReport is how the sums stand that reports and seeds are made of.
type SumsReport struct {
	Wrong  int        `json:"wrong"`
	List   []WrongSum `json:"list"`
	Mended bool       `json:"mended"`
}

// A WrongSum is a sum that is not that of its rows.
type WrongSum struct {
	Start        time.Time `json:"start"`
	Span         string    `json:"span"` // quarter or day
	Organisation string    `json:"organisation"`
	Key          string    `json:"key"`
	Model        string    `json:"model"`
	Provider     string    `json:"provider"`
	Calls        int64     `json:"missing_calls"` // rows less sum; below zero where it has too much
	Tokens       int64     `json:"missing_tokens"`
	Cost         string    `json:"missing_usd"`
	Cause        string    `json:"cause"`
	Cure         string    `json:"cure"`
}

// CountersReport is how the counters of budgets stand: those that calls of this process have asked for.
type CountersReport struct {
	Checked int            `json:"checked"` // held against their rows
	Cold    int            `json:"cold"`    // not begun yet: they will be read from the sums
	Unknown int            `json:"unknown"` // that cannot be held against rows; they are in the list with the reason
	Wrong   int            `json:"wrong"`
	List    []WrongCounter `json:"list"`
	Anew    []string       `json:"counted_anew"` // organisations
}

// A WrongCounter is a counter that does not say what its rows do, or of which nobody can tell.
type WrongCounter struct {
	Counter      string    `json:"counter"`
	Organisation string    `json:"organisation"`
	Subject      string    `json:"subject"`
	Rule         string    `json:"rule"`
	From         time.Time `json:"from"`
	Until        time.Time `json:"until"`
	Unit         string    `json:"unit"` // usd or tokens
	Spent        string    `json:"spent"`
	Rows         string    `json:"rows,omitzero"` // what it should be; left out: not known
	Held         string    `json:"held"`          // by calls under way, beside what is spent
	Cause        string    `json:"cause"`
	Cure         string    `json:"cure"`
}
