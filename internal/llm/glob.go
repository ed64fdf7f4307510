package llm

import "strings"

// Match tells whether a model's name fits a glob. A star stands for anything, slashes included; every
// other character for itself.
func Match(glob, name string) bool {
	head, rest, star := strings.Cut(glob, "*")
	if !star {
		return glob == name
	}
	if !strings.HasPrefix(name, head) {
		return false
	}
	name = name[len(head):]
	for {
		var piece string
		if piece, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(name, piece) // the last piece is bound to the end
		}
		i := strings.Index(name, piece) // the leftmost fit leaves most for the rest
		if i < 0 {
			return false
		}
		name = name[i+len(piece):]
	}
}
