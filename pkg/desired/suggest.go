package desired

import "strings"

// didYouMean returns ` (did you mean "x"?)` for the candidate that is nearest to name, or
// nothing when none is near. Ties go to the first in order.
func didYouMean(name string, candidates []string) string {
	best, limit := "", len(name)/3+1
	for _, candidate := range candidates {
		if n := distance(strings.ToLower(name), strings.ToLower(candidate)); n <= limit && candidate != name {
			best, limit = candidate, n-1
		}
	}
	if best == "" {
		return ""
	}
	return ` (did you mean "` + best + `"?)`
}

// maxSuggest bounds the length of names that are compared; the cost is quadratic.
const maxSuggest = 128

// distance is the number of insertions, deletions, replacements and swaps of neighbours
// between two names (optimal string alignment).
func distance(a, b string) int {
	if len(a) > maxSuggest || len(b) > maxSuggest {
		return maxSuggest
	}
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
