package guard

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/auth"
	"sluice/internal/guard/pii"
)

// chat is a request of so many messages of about 100 bytes, each tenth with an address.
func chat(messages int) string {
	var b strings.Builder
	b.WriteString(`{"model":"m","messages":[`)
	for i := range messages {
		if i > 0 {
			b.WriteByte(',')
		}
		who := "the customer"
		if i%10 == 0 {
			who = fmt.Sprintf("ann%d@example.com", i)
		}
		fmt.Fprintf(&b, `{"role":"user","content":"Please write a friendly answer to %s, who asked when the parcel will arrive."}`, who)
	}
	b.WriteString("]}")
	return b.String()
}

func BenchmarkInspect(b *testing.B) {
	s, err := pii.New(pii.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, mode := range []Mode{Observe, Restore} {
		for _, n := range []int{1, 20, 1000} {
			b.Run(fmt.Sprintf("%s/%d", mode, n), func(b *testing.B) {
				c, err := New([]Options{{Name: "g", Mode: mode, Always: true, Detectors: []Detector{Local(s, nil)}}}, nil)
				if err != nil {
					b.Fatal(err)
				}
				body, who := chat(n), &auth.Who{}
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					in, err := c.Inspect(b.Context(), who, callOf(body))
					if err != nil {
						b.Fatal(err)
					}
					in.Close()
				}
			})
		}
	}
}

// What a masked call allocates in the chain: a bound, so that nobody makes it dearer unawares.
func TestInspectAllocations(t *testing.T) {
	s, err := pii.New(pii.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New([]Options{{Name: "g", Mode: Restore, Always: true, Detectors: []Detector{Local(s, nil)}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, who := chat(1), &auth.Who{}
	n := testing.AllocsPerRun(100, func() {
		in, err := c.Inspect(t.Context(), who, callOf(body))
		if err != nil || in.Coverage.Found[0].N != 1 {
			t.Error(in, err)
		}
		in.Close()
	})
	const most = 36
	if n > most {
		t.Errorf("%v allocations, want at most %v", n, most)
	}
}
