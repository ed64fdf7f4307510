package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// scenario is one kind of load.
type scenario struct {
	name    string
	about   string
	prompt  int    // bytes of text in the request
	script  string // what the mock answers
	stream  bool
	usage   bool // the client asks for usage in the stream
	workers int
	kind    kind
}

type kind uint8

const (
	closedLoop kind = iota
	openLoop        // at half of what the proxy does at its best
	held            // streams that stay open, for memory
)

// scenarios are all that can be asked for by name, in the order in which they run.
var scenarios = []scenario{
	{name: "small", about: "chat, 300 B prompt, 64 connections", prompt: 120, script: "story?words=40", workers: 64},
	{name: "2k", about: "chat, 2 KB prompt, 64 connections", prompt: 2_000, script: "story?words=40", workers: 64},
	{name: "200k", about: "chat, 200 KB prompt, 16 connections", prompt: 200_000, script: "story?words=40", workers: 16},
	{name: "2m", about: "chat, 2 MB prompt, 4 connections", prompt: 2_000_000, script: "story?words=40", workers: 4},
	{
		name: "stream", about: "stream of 100 chunks that the client asks usage of, 32 connections", prompt: 120, script: "story?chunks=100",
		stream: true, usage: true, workers: 32,
	},
	{
		name: "meter", about: "the same, but the client does not ask for usage: a gateway that meters must ask and withhold it", prompt: 120,
		script: "story?chunks=100", stream: true, workers: 32,
	},
	{name: "halfload", about: "small at a fixed rate, half of the proxy's best", prompt: 120, script: "story?words=40", workers: 64, kind: openLoop},
	{
		name: "slow", about: "streams that stay open, a chunk a second each", prompt: 120, script: "story?chunks=3600&pace=1s",
		stream: true, usage: true, kind: held,
	},
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}

func findScenario(name string) (scenario, error) {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return scenario{}, fmt.Errorf("no scenario %q: want %s", name, strings.Join(scenarioNames(), ", "))
	}
	return scenarios[i], nil
}

// modelPrefix begins the names of the models that the mock plays and that gateways are configured with.
const modelPrefix = "bench-"

// script is the file for the mock: what each scenario's model does.
func mockScript() string {
	var b strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&b, "%s%s = %s\n", modelPrefix, s.name, s.script)
	}
	return b.String()
}

// sentence is what prompts are made of: plain words, and the characters that a JSON parser must look at.
const sentence = "Tell the \"keeper\" of the gate: water rises slowly,\nturn wheel no. 7 by 45\u00b0 \u2013 then wait. "

// turn is the text of one message at most; a long prompt is a long conversation, as in real traffic.
const turn = 16_000

// body is the request of the scenario.
func (s *scenario) body() []byte {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	type request struct {
		Model    string    `json:"model"`
		Messages []message `json:"messages"`
		Options  struct {
			Usage bool `json:"include_usage,omitzero"`
		} `json:"stream_options,omitzero"`
		Stream bool `json:"stream,omitzero"`
	}
	r := request{Model: modelPrefix + s.name, Messages: []message{{"system", "You are a patient guide."}}, Stream: s.stream}
	r.Options.Usage = s.usage
	roles := []string{"user", "assistant"}
	for left := s.prompt; left > 0; {
		n := min(left, turn)
		text := strings.Repeat(sentence, n/len(sentence)+1)
		for !isStart(text[n]) {
			n++
		}
		r.Messages = append(r.Messages, message{roles[(len(r.Messages)-1)%2], text[:n]})
		left -= n
	}
	if r.Messages[len(r.Messages)-1].Role == "assistant" {
		r.Messages = append(r.Messages, message{"user", "Go on."})
	}
	body, err := json.Marshal(r)
	if err != nil {
		panic("bench: marshal an own value: " + err.Error())
	}
	return body
}

func isStart(b byte) bool { return b&0xC0 != 0x80 }

// request is the whole HTTP request: head and body in one piece, sent in one write.
func (s *scenario) request(t *target) []byte {
	body := s.body()
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s/chat/completions HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice-bench\r\nAccept: application/json\r\n", t.path, t.addr)
	if t.key != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", t.key)
	}
	fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	return append([]byte(b.String()), body...)
}

// timeout of one call: a gateway that needs longer has failed it.
const timeout = 30 * time.Second
