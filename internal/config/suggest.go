package config

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown is how many characters of a name or value a message repeats.
const maxShown = 40

// nearest is the candidate that the user most probably meant by word, or "" if none is near.
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	word = strings.ToLower(word)
	best, bestDistance := "", 4
	for _, c := range candidates {
		d := editDistance(word, strings.ToLower(c))
		if d <= max(1, len(c)/3) && d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, substitutions and swaps of neighbours
// (optimal string alignment).
func editDistance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := prev[j-1]
			if a[i-1] != b[j-1] {
				substitute++
			}
			row[j] = min(prev[j]+1, row[j-1]+1, substitute)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}

// quote repeats what the user wrote, cut to maxShown. What may hold a password, because it
// looks like a URL or part of one, is not repeated: ok is false.
func quote(s string) (quoted string, ok bool) {
	if strings.ContainsAny(s, "@") || strings.Contains(s, "://") || strings.Contains(strings.ToLower(s), "password=") {
		return "", false
	}
	if utf8.RuneCountInString(s) > maxShown {
		s = string([]rune(s)[:maxShown]) + "…"
	}
	return strconv.Quote(s), true
}

// shown is quote, or a stand-in for what is not repeated.
func shown(s string) string {
	if q, ok := quote(s); ok {
		return q
	}
	return "(not shown)"
}

// pathStep is a key as it stands in a fault's path.
func pathStep(key string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) || r == '_' || r == '-'
	}
	if key != "" && len(key) <= 64 && strings.IndexFunc(key, func(r rune) bool { return !plain(r) }) < 0 {
		return key
	}
	return shown(key)
}

// join appends a key to a path.
func join(path, key string) string {
	if path == "" {
		return pathStep(key)
	}
	return path + "." + pathStep(key)
}
