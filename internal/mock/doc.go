// Package mock is a scripted upstream that speaks the OpenAI, Anthropic and Gemini APIs, streamed or not, and keeps a log of what
// it served. It shares no code with the gateway's own formats: it is the truth that they are tested against. It refuses
// to know anything about the gateway.
//
// # Models
//
//	echo    answers with the last text of the user
//	story   a longer text, always the same for the same seed
//	tools   calls the first offered tool with arguments that fit its schema, two tools if the prompt says "parallel"
//	        or "both"; once it has a tool's result it answers in text
//	reason  thinks (reasoning text and a signature), then answers
//	json    an object that fits the schema of the requested format
//	refuse  declines
//	usage   echoes, with large and uneven token counts of every kind
//
// A prefix "mock/" is ignored. Any other model is 404, unless a script file gives it a meaning. The same request gets the
// same answer, byte for byte. Signatures of reasoning that come back are checked: a changed one is 400.
//
// # Scripts
//
// A script is a list of name=value, separated by "&", ";" or blanks; values may be percent-encoded. It is taken
// from, later ones winning: the --default flag, the first line of the script file that matches the model, the model name
// ("story?chunks=100&pace=10ms") and the header X-Mock-Script. A line of a script file is "PATTERN = MODEL?SCRIPT" or
// "PATTERN = ?SCRIPT"; PATTERN is a glob on the model asked for ("gpt-4*"), "#" starts a comment.
//
// Sizes take kB, MB, GB; durations are Go's (200ms, 2s). A PLACE is head (before the status line), start (after it), end (before
// the last event), 50% or 0.5 (of the events of a stream, of the bytes of a plain answer), or a count of events or bytes.
//
// Time:
//
//	latency=D       before the status line
//	ttft=D          after that, before the first event with output
//	pace=D          between two events with output (a plain answer waits for all of them at once)
//	burst=N         events a flush (1)
//	stall=D@PLACE   one pause, then on as before
//	drip=N/D        N bytes a write and a pause of D after each; D may be 0
//
// Content:
//
//	seed=N          of stories, counts and rates
//	text=S          the answer's text;  words=N or size=SIZE: the length of a story;  chunks=N: events of text
//	stop=S          stop, length or filter: the finish reason
//	redacted=on     reason has a redacted block too (Anthropic)
//	dims=N          of an embedding
//	input= output= cached= write= reasoning=N   token counts; input and output are totals, as OpenAI counts
//	usage=S         none (absent), null (OpenAI), zero, or every (in every event)
//	sse=A,B         crlf, lf, bom, comments, tight (no blank after the colon), open (no blank line at the end)
//	header=NAME:V   one more header on the answer; may be repeated
//
// Faults:
//
//	status=N        an error in the vendor's form; with body=, retry=, header=
//	body=S          vendor, empty, html, or text:S
//	retry=D[:FORM]  when to retry; FORM is seconds, date, ms, openai, anthropic, openrouter, azure or gemini (in the body)
//	redirect=URL    307 to URL
//	hang=PLACE      silence until the client leaves
//	cut=PLACE       a clean end;  drop=PLACE the connection closes;  rst=PLACE it is reset
//	garbage=PLACE   a broken event more;  dup=PLACE an event twice;  error=PLACE[:STATUS] an error event, and the end
//	pad=SIZE        blanks before the body, or inside the first event
//	head=SIZE       one long header;  heads=N so many headers
//	gzip=SIZE       a compressed answer that opens to SIZE (0: just compressed)
//	length=N        the Content-Length is wrong by N, as in +100 or -10
//
// Which calls have the faults (all, unless said; of those with the same model and script):
//
//	rate=R          the share R, 0 to 1, chosen by the seed
//	first=N         the first N;  skip=N not the first N;  every=N each Nth
//
// Several faults, each call that has one having one of them, chosen by the seed, are divided by "|", which ends the rest of the script:
// "rate=0.2 status=500 | status=429 retry=1s | hang=head | cut=1".
//
// PUT /script takes the place of the script file: what comes after it is answered by it, and calls are counted anew.
//
// # The log
//
// GET /log answers {"served", "dropped", "entries"}, oldest first; ?id= takes one X-Request-Id, ?after= those with a larger
// seq, ?await=N waits (10 s at most) until N calls are logged. DELETE /log forgets them. Times are milliseconds from the moment the request was read; tokens are those of the events that were
// written. outcome is complete (the whole answer, as scripted), cut (a fault ended it), cancelled (the client left), or
// refused (an error status). GET /health answers ok.
package mock
