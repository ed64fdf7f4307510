package llm

import "time"

// A Rule is what somebody may consume: limits on the pace, and budgets. A call must have room under every
// rule that holds for it. Rules are data; package quota counts.
type Rule struct {
	Name     string   // names its counters, and the rule in refusals; unique for its subject, and kept over changes
	Models   []string // globs of model names, as clients say them, that it holds for; none: every model
	Per      []Dim    // counted apart for each of these; none: for all of the subject together
	Requests []Pace   // at most so many
	Tokens   []Pace   // input and output together
	Parallel int64    // calls under way; 0: no limit
	Budgets  []Budget
}

// A Dim is something by which a rule counts apart.
type Dim string

// The dimensions.
const (
	DimKey     Dim = "key"
	DimUser    Dim = "user"
	DimTeam    Dim = "team"
	DimProject Dim = "project"
	DimModel   Dim = "model" // as the client says it, after aliases of the format
)

// A Pace is so many of something in each span of time: a second, a minute, an hour or a day.
type Pace struct {
	N   int64
	Per time.Duration
}

// A Budget is an amount for a period. Of Money and Tokens one is set.
type Budget struct {
	Money     Nano
	Tokens    int64
	Every     Period
	Zone      *time.Location // of the calendar; nil: UTC
	Mode      BudgetMode
	Grace     time.Duration // with HardAfterGrace: how long calls still pass after the limit was reached
	Alerts    []int         // percent of the limit at which an alert is sent
	Overrides []Override    // other limits for a while
}

// An Override is another limit for the periods that begin in a span of time.
type Override struct {
	From, Until time.Time
	Money       Nano
	Tokens      int64
}

// A Period is how often a budget is whole again.
type Period string

// The periods. Calendar periods begin at midnight of the budget's zone (an hour at its full hour, a week on
// Monday); a rolling one is always the last so many hours or days.
const (
	Hourly    Period = "hour"
	Daily     Period = "day"
	Weekly    Period = "week"
	Monthly   Period = "month"
	Quarterly Period = "quarter"
	RollHour  Period = "rolling-hour"
	RollDay   Period = "rolling-day"
	RollWeek  Period = "rolling-week"
	RollMonth Period = "rolling-30-days"
)

// A BudgetMode says what happens when a budget is used up.
type BudgetMode string

// The modes.
const (
	Hard           BudgetMode = "hard"             // calls are refused
	Soft           BudgetMode = "soft"             // calls pass; alerts tell
	HardAfterGrace BudgetMode = "hard_after_grace" // soft for a while, then hard
)

// A Bound is a rule and whom it counts for.
type Bound struct {
	Subject string // org:NAME, team:ID, user:ID, key:ID, project:NAME, tag:NAME, or config
	Rule    *Rule
}
