package source

// Parsers of what strangers write, for fuzzing.

// SplitSignature is splitSignature.
func SplitSignature(commit []byte) (payload, signature []byte, err error) {
	return splitSignature(commit)
}

// ParseAllowedSigners is parseAllowedSigners; it returns how many lines name a signer.
func ParseAllowedSigners(data []byte) (int, error) {
	list, err := parseAllowedSigners(data)
	return len(list), err
}
