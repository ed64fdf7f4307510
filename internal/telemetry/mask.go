package telemetry

import "bytes"

// secretStarts are how credentials of the vendors and our own keys begin. They are looked for in every
// batch of lines, whoever wrote them: the last net under the rule that nothing logs a secret.
var secretStarts = [][]byte{
	[]byte("sk-"), []byte("AIza"), []byte("gsk_"), []byte("xai-"), []byte("pplx-"), []byte("hf_"), []byte("Bearer "), []byte("bearer "),
}

// shortest is how many characters must follow such a start: models and words have fewer.
const shortest = 20

// mask overwrites what looks like a credential with stars, in place.
func mask(lines []byte) {
	for _, start := range secretStarts {
		for at := 0; ; {
			i := bytes.Index(lines[at:], start)
			if i < 0 {
				break
			}
			from := at + i + len(start)
			end := from
			for end < len(lines) && isToken(lines[end]) {
				end++
			}
			if end-from >= shortest && (at+i == 0 || !isLetter(lines[at+i-1])) {
				for j := from; j < end; j++ {
					lines[j] = '*'
				}
			}
			at = from
		}
	}
}

func isToken(c byte) bool {
	return isLetter(c) || c == '-' || c == '_' || c == '.' || c == '~' || c == '+' || c == '/'
}

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
