package llm

import "time"

// A Quota is what an upstream's answer says of its rate limits. The zero Quota says nothing.
type Quota struct {
	At       time.Time // when it was said; zero: it was not
	Requests Room      //
	Tokens   Room      // of several limits on tokens, the one that is closest to being used up
}

// Room is what is left of one limit.
type Room struct {
	Known bool
	Left  int64
	Reset time.Time // when the limit is whole again; zero: the upstream does not say
}
