package deliver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ktrdr.io/fleet/pkg/api"
)

// Offer puts the values of a rotation where the container of a folder can read them: the
// old one, unless it is empty because nobody knows it, and the new one. Withdraw ends it.
func (s *Store) Offer(folder, old, fresh string) error {
	at, err := s.path(folder)
	if err != nil {
		return err
	}
	if err := inMemory(s.cfg.Dir); err != nil {
		return err
	}
	dir := filepath.Join(at, valuesDir, api.SecretsRotation)
	if err := errors.Join(s.Withdraw(folder), makeDir(at, dir)); err != nil {
		return err
	}
	for name, value := range map[string]string{api.RotationOld: old, api.RotationNew: fresh} {
		if value == "" {
			continue
		}
		if err := replace(dir, api.File{Target: name, Content: value, Mode: valueMode}); err != nil {
			return errors.Join(fmt.Errorf("write the values of a rotation: %w", err), s.Withdraw(folder))
		}
	}
	return nil
}

// Withdraw removes what Offer wrote; nothing there is fine.
func (s *Store) Withdraw(folder string) error {
	at, err := s.path(folder)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(at, valuesDir, api.SecretsRotation)); err != nil {
		return fmt.Errorf("remove the values of a rotation: %w", err)
	}
	return nil
}

// Texts are the values and files that a folder holds, in no order: an agent that starts
// finds values again that the provider no longer has.
func (s *Store) Texts(folder string) []string {
	at, err := s.path(folder)
	if err != nil || inMemory(s.cfg.Dir) != nil {
		return nil
	}
	var texts []string
	for _, dir := range []string{filepath.Join(at, valuesDir, api.SecretsCurrent), filepath.Join(at, filesDir)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || !info.Mode().IsRegular() || info.Size() > api.MaxSecret {
				continue
			}
			if data, err := os.ReadFile(filepath.Join(dir, entry.Name())); err == nil { //nolint:gosec // below our own folder
				texts = append(texts, string(data))
			}
		}
	}
	return texts
}
