package responses_test

import (
	"net/url"
	"time"
)

var testTime = time.Unix(1767225600, 0).UTC()

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
