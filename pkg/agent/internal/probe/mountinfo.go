package probe

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
)

// A table of mounts of a busy Docker host is some 100 KiB.
const maxMountInfo = 16 << 20

var errNotAbsolute = errors.New("the path is not absolute")

// mountedType returns the type of the topmost file system mounted at exactly that path.
func mountedType(table, at string) (kind string, found bool, err error) {
	if !path.IsAbs(at) {
		return "", false, errNotAbsolute
	}
	file, err := os.Open(table)
	if err != nil {
		return "", false, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	return findMount(io.LimitReader(file, maxMountInfo), path.Clean(at))
}

// findMount reads the format of proc_pid_mountinfo(5): id, parent, device, root, mount
// point, options, optional fields, "-", type, source, options of the file system. Of
// several mounts at one path the last one is on top.
func findMount(table io.Reader, at string) (kind string, found bool, err error) {
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20) // overlay mounts have long lines
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || unescapeOctal(fields[4]) != at {
			continue
		}
		for i := 6; i+1 < len(fields); i++ {
			if fields[i] == "-" {
				kind, found = fields[i+1], true
				break
			}
		}
	}
	return kind, found, lines.Err()
}

// unescapeOctal undoes \040 and the like.
func unescapeOctal(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if code, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
