package client

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	own := Account{Name: "acct", Key: "a2V5", File: "https://acct.file.core.lido.internal/"}
	s, err := ParseSpec([]byte(`{"properties": {"nodeCount": 2, "mountVolumes": {"azureFileShares": [
		{"azureFileUrl": "https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/logs", "relativeMountPath": "logs"},
		{"azureFileUrl": "https://other.file.core.windows.net/x", "relativeMountPath": "x", "accountName": "other", "credentials": {"accountKey": "eA=="}}],
		"azureBlobFileSystems": [{"accountName": "<AZURE_BATCHAI_STORAGE_ACCOUNT>", "containerName": "data", "relativeMountPath": "data"}]}}}`),
		func() (Account, error) { return own, nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range append(s.volumes("azureFileShares"), s.volumes("azureBlobFileSystems")...) {
		if err := fillKey(v, func(string) (Account, error) { return own, nil }); err != nil {
			t.Fatal(err)
		}
	}
	s.SetVariable("environmentVariables", "A", "0")
	s.SetVariable("environmentVariables", "A", "1")
	s.Add(object{"relativeMountPath": "more"}, "mountVolumes", "azureFileShares")
	b, _ := json.Marshal(s.Properties)
	text := string(b)
	for _, want := range []string{
		`https://acct.file.core.windows.net/logs`, `"accountKey":"a2V5"`, `"accountKey":"eA=="`, `"environmentVariables":[{"name":"A","value":"1"}]`,
		`"containerName":"data","credentials"`, `{"relativeMountPath":"more"}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if strings.Contains(text, "<AZURE") || strings.Count(text, `"accountKey":"a2V5"`) != 2 {
		t.Errorf("placeholders or keys are wrong: %s", text)
	}
	for _, bad := range []string{"", "{", `{"nodeCount": 1}`} {
		if _, err := ParseSpec([]byte(bad), nil); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}
