package compose

import (
	"regexp"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// fault is one variable of a value that has none, a template that can't be read, or a
// reference that can't be resolved.
type fault struct {
	message   string
	reference bool
}

// standIn takes the place of a value that is missing: it passes as text and as a number.
const standIn = "0"

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*`)

// evaluate reads a template as Compose does and returns what Compose would turn into an
// empty string, or refuse; compose-go tells neither all of it nor where. The text has a
// stand-in for each fault. Defaults are only looked at where they are used.
func evaluate(s string, get func(string) (string, bool)) (string, []fault) {
	var out strings.Builder
	var found []fault
	use := func(text string, faults []fault) {
		out.WriteString(text)
		found = append(found, faults...)
	}
	for {
		head, rest, more := strings.Cut(s, "$")
		out.WriteString(head)
		if !more {
			return out.String(), found
		}
		s = rest
		switch name := variableName.FindString(s); {
		case strings.HasPrefix(s, "$"):
			out.WriteByte('$')
			s = s[1:]
		case strings.HasPrefix(s, "{"):
			end := closing(s)
			if end < 0 {
				use(standIn, []fault{{message: "a ${ is never closed; write $$ for a plain $"}})
				return out.String(), found
			}
			use(braced(s[1:end], get))
			s = s[end+1:]
		case name != "":
			use(plain(name, get))
			s = s[len(name):]
		default:
			out.WriteByte('$') // plain text, as in Compose
		}
	}
}

// textFaults are the faults of a value, or what is wrong with its references once variables
// are filled in.
func textFaults(s string, get func(string) (string, bool)) []fault {
	text, found := s, []fault(nil)
	if strings.ContainsRune(s, '$') {
		text, found = evaluate(s, get)
	}
	if err := api.CheckText(text); len(found) == 0 && err != nil {
		return []fault{{message: err.Error(), reference: true}}
	}
	return found
}

func faults(s string, get func(string) (string, bool)) []fault {
	_, found := evaluate(s, get)
	return found
}

// closing finds the brace that closes the one at the start of s.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func plain(name string, get func(string) (string, bool)) (string, []fault) {
	if value, ok := get(name); ok {
		return value, nil
	}
	return standIn, []fault{{message: "variable " + name + " is not defined and has no default"}}
}

// braced handles NAME, NAME:-default, NAME-default, NAME:?message, NAME?message,
// NAME:+other and NAME+other.
func braced(inner string, get func(string) (string, bool)) (string, []fault) {
	name := variableName.FindString(inner)
	rest := inner[len(name):]
	if name == "" {
		return standIn, []fault{{message: "${" + inner + "} does not start with a name; write $$ for a plain $"}}
	}
	if rest == "" {
		return plain(name, get)
	}
	value, set := get(name)
	rest, orEmpty := strings.CutPrefix(rest, ":")
	if orEmpty && value == "" {
		set = false
	}
	if rest == "" || !strings.ContainsRune("-?+", rune(rest[0])) {
		return standIn, []fault{{message: "${" + inner + "} is not a template Compose knows; write $$ for a plain $"}}
	}
	argument := rest[1:]
	switch {
	case rest[0] == '-' && !set, rest[0] == '+' && set:
		return evaluate(argument, get)
	case rest[0] == '?' && !set:
		return standIn, []fault{{message: strings.TrimSuffix("variable "+name+" is required: "+argument, ": ")}}
	}
	return value, nil
}
