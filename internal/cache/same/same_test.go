package same

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// What may be answered with one answer, and what may not. Read it as: a, b, and why not; "" is yes.
func TestSame(t *testing.T) {
	tests := []struct {
		a, b             string
		strict, balanced Reason
	}{
		// the same
		{"How do I reset my password?", "How do I reset my password?", "", ""},
		{"How do I reset my password?", "how do you reset a password", "", ""},
		{"How do I reset my password?", "How can I reset the passwords?", "", ""},
		{"What's the capital of France?", "What is the capital of France", "", ""},
		{"Please, what is the capital of France?", "What is the capital of France?", "", ""},
		{"How do I learn to cook?", "How can I learn cooking?", "", ""},
		{"Why doesn't the printer work?", "Why doesn’t this printer work?", "", ""},
		{"Why doesn't the printer work?", "Why dont the printers work?", "", ""},
		{"What is infinity divided by 0?", "What is infinity divided by zero?", "", ""},
		{"How do I save 1,000 dollars?", "How do I save $1000?", "", ""},
		{"How heavy is 5 kg of rice?", "How heavy is 5kg of rice?", "", ""},
		{"Is the IPHONE good?", "Is the iPhone good?", "", ""},
		{"WHAT IS THE CAPITAL OF FRANCE", "What is the capital of France?", "", ""},

		// one word more or another: only the vector can tell
		{"How do I quickly reset my password?", "How do I reset my password?", Words, ""},
		{"What is the best laptop for students?", "What is the best notebook for students?", Words, ""},
		{"How do I fry and boil fresh eggs?", "How do I fry eggs?", Words, Words},

		// opposites
		{"How do I gain weight?", "How do I lose weight?", Opposite, Opposite},
		{"How do I reduce costs?", "How do I increase costs?", Opposite, Opposite},
		{"How can I lock the screen?", "How can I unlock the screen?", Opposite, Opposite},
		{"Is smoking legal in Spain?", "Is smoking illegal in Spain?", Opposite, Opposite},
		{"How do I cure pimples?", "How do I get pimples?", Words, ""}, // "get" says nothing by itself
		{"How do I export a table?", "How do I import a table?", Opposite, Opposite},
		{"What is his name?", "What is her name?", Opposite, Opposite},

		// what is asked
		{"How is glass made?", "Why is glass made?", Asked, Asked},
		{"When did the war end?", "Where did the war end?", Asked, Asked},
		{"Who is the president of France?", "Who was the president of France?", Asked, Asked},
		{"Can I eat apples?", "Should I eat apples?", Asked, Asked},
		{"Is tea healthy?", "Why is tea healthy?", Asked, Asked},
		{"How many eggs should I eat?", "How should I eat eggs?", Asked, Asked},

		// negations
		{"Is it safe to eat the seeds?", "Is it not safe to eat the seeds?", Negation, Negation},
		{"How do I cook with salt?", "How do I cook without salt?", Negation, Negation},
		{"Which foods are safe?", "Which foods are never safe?", Negation, Negation},
		{"Why doesn't the printer work?", "Why does the printer not work?", Direction, Direction}, // true, but not by counting
		{"Can I be ill and not be insane?", "Can I not be ill and be insane?", Direction, Direction},

		// numbers, dates, units
		{"What is 20 plus 30?", "What is 20 plus 40?", Numbers, Numbers},
		{"Who won the cup in 2018?", "Who won the cup in 2019?", Numbers, Numbers},
		{"Who won the cup in May?", "Who won the cup in June?", Numbers, Numbers},
		{"Is the shop open on Monday?", "Is the shop open on Tuesday?", Numbers, Numbers},
		{"How long are 5 miles?", "How long are 5 km?", Numbers, Numbers},
		{"How do I convert pounds to kilograms in 10 seconds?", "How do I convert pounds to kilograms in 10 minutes?", Numbers, Numbers},
		{"How do I convert liters to kilograms?", "How do I convert kilograms to liters?", Numbers, Numbers},
		{"What is 3.5 squared?", "What is 35 squared?", Numbers, Numbers},
		{"How do I treat two dogs?", "How do I treat three dogs?", Numbers, Numbers},

		// names
		{"What is the capital of France?", "What is the capital of Spain?", Names, Names},
		{"How do I join the army in the US?", "How do I join the army in the UK?", Names, Names},
		{"How do I get to work for the WHO?", "How do I get to work for them?", Names, Names},
		{"What do you think of Python?", "What do you think of python?", "", ""},

		// what is quoted, code, addresses, products
		{"What does \"cold feet\" mean?", "What does \"cold fish\" mean?", Quoted, Quoted},
		{"What does 'cold feet' mean?", "What does \"cold feet\" mean?", "", ""},
		{"What is `a[0]` in C?", "What is `a[1]` in C?", Quoted, Quoted},
		{"How do I call get_user in Go?", "How do I call set_user in Go?", Identifiers, Identifiers},
		{"What is https://example.com/a for?", "What is https://example.com/b for?", Identifiers, Identifiers},
		{"Who is ann@example.com?", "Who is bob@example.com?", Identifiers, Identifiers},
		{"Is the ThinkPad X1 good?", "Is the ThinkPad X2 good?", Identifiers, Identifiers},
		{"How do I write loops in C++?", "How do I write loops in C#?", Identifiers, Identifiers},
		{"What does 无语 mean?", "What does 装逼 mean?", Identifiers, Identifiers},

		// from and to, order, degree
		{"How do I fly from Paris to Rome?", "How do I fly to Paris from Rome?", Direction, Direction},
		{"What do I do before surgery?", "What do I do after surgery?", Direction, Direction},
		{"Does the dog bite the man?", "Does the man bite the dog?", Direction, Direction},
		{"What is the hardest way to learn?", "What is the best way to learn?", Degree, Degree},

		// what is only ever answered with its own answer
		{"What is the weather in Rome today?", "What is the weather in Rome today?", Fleeting, Fleeting},
		{"Who is the president now?", "Who is the president now?", Fleeting, Fleeting},
		{"What happened in Rome this week?", "What happened in Rome this week?", Fleeting, Fleeting},
		{"What is the latest version of the app?", "What is the latest version of the app?", Fleeting, Fleeting},
		{"What does this do?\n```\nx = 1\n```", "What does this do?\n```\nx = 1\n```", Code, Code},
		{"Why is this wrong?\nfor i := 0; i < 3; i++ {\n}", "Why is this wrong?\nfor i := 0; i < 3; i++ {\n}", Code, Code},
		{"Was ist die Hauptstadt von Frankreich?", "Was ist die Hauptstadt von Frankreich?", Language, Language},
		{"¿Cuál es la capital de Francia?", "¿Cuál es la capital de Francia?", Language, Language},
		{"法国的首都是什么？", "法国的首都是什么？", Language, Language},
		{"Is it?", "Is it?", Empty, Empty},
		{"Is it not from here?", "Is it not from here?", Empty, Empty},
		{"", "", Empty, Empty},
		{"Is this \"open?", "Is this \"open?", Quoted, Quoted},
		{strings.Repeat("What is it? ", 100), strings.Repeat("What is it? ", 100), Long, Long},
		{"What is \xff?", "What is \xff?", Long, Long},
	}
	for _, tt := range tests {
		t.Run(tt.a, func(t *testing.T) {
			a, b := Read(tt.a), Read(tt.b)
			for m, want := range map[Mode]Reason{Strict: tt.strict, Balanced: tt.balanced} {
				ok, got := Same(a, b, m)
				if got != want || ok != (want == "") {
					t.Errorf("%s\n%s\n%s: got %q, want %q\n%+v\n%+v", tt.a, tt.b, m, got, want, a, b)
				}
				if _, back := Same(b, a, m); (back == "") != ok {
					t.Errorf("%s: the other way about it is %q", m, back)
				}
			}
			keyA, okA := a.Canonical()
			keyB, okB := b.Canonical()
			if got := okA && okB && keyA == keyB; got != (tt.strict == "") {
				t.Errorf("%s\n%s\nthe keys are equal: %v, and strict says %q", keyA, keyB, got, tt.strict)
			}
		})
	}
}

func TestStem(t *testing.T) {
	for _, same := range [][]string{
		{"make", "makes", "making", "made"},
		{"stop", "stops", "stopped", "stopping"},
		{"city", "cities"},
		{"study", "studies", "studied", "studying"},
		{"box", "boxes"},
		{"class", "classes"},
		{"use", "used", "using", "uses"},
		{"child", "children"},
		{"call", "called", "calling"},
		{"lose", "losing", "lost"},
		{"need", "needed", "needs"},
		{"run", "running"},
	} {
		for _, w := range same[1:] {
			if stem(w) != stem(same[0]) {
				t.Errorf("%s gives %s, %s gives %s", same[0], stem(same[0]), w, stem(w))
			}
		}
	}
	for _, apart := range [][2]string{
		{"police", "policy"},
		{"universe", "university"},
		{"organ", "organization"},
		{"new", "news"},
		{"mean", "means"},
		{"thin", "thing"},
		{"need", "ne"},
		{"string", "str"},
		{"bus", "bu"},
		{"analysis", "analysi"},
		{"general", "generate"},
	} {
		if stem(apart[0]) == stem(apart[1]) {
			t.Errorf("%s and %s both give %s", apart[0], apart[1], stem(apart[0]))
		}
	}
}

// vocabulary has words of every list, so that random questions meet all guards.
var vocabulary = strings.Fields(`what how why who is are do does can should was not never without the a my your in of from to before after
	best hardest gain lose weight password reset resets resetting France Paris US IT iPhone 5 5kg $20 two 2019 monday "cold feet" 'x' foo_bar
	a/b today now this week unlock lock illegal legal don't what's ? . , : & 无语 café - `)

func question(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(vocabulary), 0, 8).Draw(t, label), " ")
}

func TestSameIsSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hold(t, question(t, "a"), question(t, "b"))
	})
}

type failer interface{ Fatalf(string, ...any) }

// hold holds what is true of any two texts.
func hold(t failer, x, y string) {
	a, b := Read(x), Read(y)
	strict, _ := Same(a, b, Strict)
	balanced, _ := Same(a, b, Balanced)
	for m, got := range map[Mode]bool{Strict: strict, Balanced: balanced} {
		if back, why := Same(b, a, m); back != got {
			t.Fatalf("%q and %q, %s: %v, the other way about %v (%s)", x, y, m, got, back, why)
		}
	}
	if strict && !balanced {
		t.Fatalf("%q and %q are the same in strict, not in balanced", x, y)
	}
	keyA, okA := a.Canonical()
	keyB, okB := b.Canonical()
	if equal := okA && okB && keyA == keyB; equal != strict {
		t.Fatalf("%q and %q: keys equal %v, strict %v", x, y, equal, strict)
	}
	if again, why := Same(a, Read(x), Strict); again != (a.Refused() == "") {
		t.Fatalf("%q is not the same as itself: %s", x, why)
	}
}

func FuzzSame(f *testing.F) {
	f.Add("How do I reset my password?", "how can I reset the passwords")
	f.Add("'a' \"b\" `c` 'd", "don't 1,2.3.4 $5k 3rd x² ½ 50% ‘q’")
	f.Add("US IT WHO iPhone's n't 'n't ''s", "this week last second un- --")
	f.Fuzz(func(t *testing.T, x, y string) {
		hold(t, x, y)
		if len(x) > MaxText || !utf8.ValidString(x) {
			if _, ok := Read(x).Canonical(); ok {
				t.Fatalf("%q has a key", x)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Read("What is the best way to learn a foreign language in 6 months when you work full-time?")
	}
}
