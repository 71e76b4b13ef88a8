package compose

import "strings"

// The paths of an included file get a virtual root in front while compose-go joins them:
// it takes only absolute project directories without looking at the disk. The root is so
// deep that no path in a file climbs out of it (tooManyParents), and no file can name it.
const (
	virtualTop   = "/\uE004"
	virtualLevel = "/\uE005"
	virtualDepth = 64
)

func virtualRoot() string { return virtualTop + strings.Repeat(virtualLevel, virtualDepth) + "/" }

// fromVirtual gives a path its form relative to the root of the repository back; one that
// climbed out starts with "../".
func fromVirtual(s string) string {
	rest, found := strings.CutPrefix(s, virtualTop)
	if !found {
		return s
	}
	levels := 0
	for ; strings.HasPrefix(rest, virtualLevel); levels++ {
		rest = rest[len(virtualLevel):]
	}
	rest = strings.Repeat("../", max(virtualDepth-levels, 0)) + strings.TrimPrefix(rest, "/")
	if rest == "" {
		return "."
	}
	return rest
}

// tooManyParents tells of a path that could climb out of the virtual root.
func tooManyParents(s string) bool { return strings.Count(s, "..") > virtualDepth/2 }
