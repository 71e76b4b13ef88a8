package repo

import (
	"strings"
	"unicode"
)

// maxLine bounds a line that somebody is shown, in characters.
const maxLine = 1000

// oneLine makes a text of others one line without anything that moves a terminal's cursor.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(strings.Map(printable, text)), " ")
	if all := []rune(text); len(all) > maxLine {
		text = string(all[:maxLine]) + "…"
	}
	return text
}

// printable keeps a character that may be shown and makes a space of all others.
func printable(r rune) rune {
	if r == '\t' || !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

// identity is a text that may stand in a commit's header.
func identity(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '<' || r == '>' || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text))
}
