package hub

// EncodeNode, DecodeNode and Gist are what is kept of a node.
var (
	EncodeNode = encodeNode //nolint:gochecknoglobals // for tests
	DecodeNode = decodeNode //nolint:gochecknoglobals // for tests
	Gist       = gist       //nolint:gochecknoglobals // for tests
)

// Size of a packed status.
func (s *Status) Size() int { return len(s.packed) }
