package compute

import (
	"path/filepath"
	"testing"

	"lido.dev/lido/internal/store"
)

// TestHashesStay: the hashes decide whether machines are replaced and scripts run again, so a new lido must find the
// same ones for the same model.
func TestHashesStay(t *testing.T) {
	st, err := store.Open(filepath.Join(t.TempDir(), "lido.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		hash, err := keepModel(tx, &store.Doc{ID: setPath, Desired: []byte(setBody(3, extensions(customExtension("run", `{"commandToExecute":"true"}`, `{"x":1}`, `,"forceUpdateTag":"1"`))))})
		if err != nil {
			return err
		}
		m, err := loadModel(tx, setPath, hash)
		if err != nil {
			return err
		}
		for what, c := range map[string][2]string{
			"model":     {hash, "2b959efbfb75ca6f"},
			"machine":   {m.machineHash, "5581ebbe380e7c1e"},
			"extension": {m.extensions[0].hash, "fb88d8f85af2dfb4"},
		} {
			if c[0] != c[1] {
				t.Errorf("%s: %s, was %s", what, c[0], c[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
