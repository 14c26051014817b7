package compute

import (
	"fmt"
	"strings"
	"testing"

	"lido.dev/lido/internal/machine/sim"
)

// with returns a valid set's body with one text replaced by another.
func with(t *testing.T, old, new string) string {
	t.Helper()
	body := setBody(1, "")
	if !strings.Contains(body, old) {
		t.Fatalf("%q is not in the body", old)
	}
	return strings.Replace(body, old, new, 1)
}

func TestRefusals(t *testing.T) {
	l := newLab(t, sim.Config{}, nil)
	key := `"linuxConfiguration":{"disablePasswordAuthentication":"true","ssh":{"publicKeys":[{"path":"/home/dsvmuser/.ssh/authorized_keys","keyData":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8Jb0Xr4mPmGsVJ0Z0o5vA1bXf6v3l8bq0b3m9Jk3Jd ada"}]}}`
	password := `"adminPassword":"Hush-hush-1"`
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
		target string
	}{
		"no size":            {with(t, `"name":"Standard_D2s_v3",`, ``), 400, codeInvalid, "sku.name"},
		"unknown size":       {with(t, "Standard_D2s_v3", "Standard_Huge"), 400, codeInvalid, "sku.name"},
		"capacity too large": {with(t, `"capacity":"1"`, `"capacity":1001`), 400, codeInvalid, "sku.capacity"},
		"capacity a word":    {with(t, `"capacity":"1"`, `"capacity":"many"`), 400, "InvalidRequestContent", "sku.capacity"},
		"no capacity":        {with(t, `,"capacity":"1"`, ``), 400, codeInvalid, "sku.capacity"},
		"mode":               {with(t, `"manual"`, `"Sometimes"`), 400, codeInvalid, "properties.upgradePolicy.mode"},
		"orchestration":      {with(t, `"upgradePolicy"`, `"orchestrationMode":"Loose","upgradePolicy"`), 400, codeInvalid, "properties.orchestrationMode"},
		"scale-in rule":      {with(t, `"upgradePolicy"`, `"scaleInPolicy":{"rules":["Default","Biggest"]},"upgradePolicy"`), 400, codeInvalid, "properties.scaleInPolicy.rules[1]"},
		"nameless interface": {with(t, `"name":"nic",`, ``), 400, codeInvalid, pathInterfaces + "[0].name"},
		"image":              {with(t, `"publisher":"lido"`, `"publisher":"nobody"`), 404, "PlatformImageNotFound", pathImage},
		"no image":           {with(t, `"imageReference"`, `"x"`), 400, codeInvalid, pathImage},
		"windows":            {with(t, `"adminUsername"`, `"windowsConfiguration":{},"adminUsername"`), 400, codeInvalid, pathOS + ".windowsConfiguration"},
		"no user":            {with(t, `"adminUsername":"dsvmuser",`, ``), 400, codeInvalid, pathOS + ".adminUsername"},
		"user root":          {with(t, `"dsvmuser"`, `"root"`), 400, codeInvalid, pathOS + ".adminUsername"},
		"user with a digit":  {with(t, `"dsvmuser"`, `"1user"`), 400, codeInvalid, pathOS + ".adminUsername"},
		"user with a colon":  {with(t, `"dsvmuser"`, `"a:b"`), 400, codeInvalid, pathOS + ".adminUsername"},
		"simple password":    {with(t, "Hush-hush-1", "hushhush"), 400, codeInvalid, pathOS + ".adminPassword"},
		"short password":     {with(t, "Hush-hush-1", "Hu-1"), 400, codeInvalid, pathOS + ".adminPassword"},
		"known password":     {with(t, "Hush-hush-1", "Pa$$word"), 400, codeInvalid, pathOS + ".adminPassword"},
		"neither":            {with(t, ","+password, ``), 400, codeInvalid, pathOS + ".adminPassword"},
		"bad key":            {with(t, password, strings.Replace(key, "ssh-ed25519", "ssh-magic", 1)), 400, codeInvalid, pathOS + ".linuxConfiguration.ssh.publicKeys[0].keyData"},
		"key elsewhere":      {with(t, password, strings.Replace(key, ".ssh/authorized_keys", "keys", 1)), 400, codeInvalid, pathOS + ".linuxConfiguration.ssh.publicKeys[0].path"},
		"custom data":        {with(t, password, password+`,"customData":"&"`), 400, codeInvalid, pathCustomData},
		"subnet":             {with(t, "/subnets/a", "/subnets/none"), 400, "InvalidResourceReference", pathInterfaces},
		"no network":         {with(t, `"networkInterfaceConfigurations"`, `"x"`), 400, codeInvalid, pathInterfaces},
		"same extension":     {setBody(1, extensions(customExtension("a", `{}`, `{}`, ""), customExtension("A", `{}`, `{}`, ""))), 400, codeInvalid, pathExtensions + "[1].name"},
		"circle":             {setBody(1, extensions(customExtension("a", `{}`, `{}`, `,"provisionAfterExtensions":["a"]`))), 400, codeInvalid, pathExtensions},
		"after nothing":      {setBody(1, extensions(customExtension("a", `{}`, `{}`, `,"provisionAfterExtensions":["b"]`))), 400, codeInvalid, pathExtensions + "[0].properties.provisionAfterExtensions"},
	} {
		code, m, _ := l.call("PUT", setPath+strings.ReplaceAll(name, " ", "-"), c.body)
		e := at(m, "error")
		if code != c.status || e["code"] != c.code || e["target"] != c.target {
			t.Errorf("%s: %d %v at %v (%v), want %d %s at %s", name, code, e["code"], e["target"], e["message"], c.status, c.code, c.target)
		}
	}
	if code, _, _ := l.call("PUT", setPath, with(t, password, password+","+key)); code != 201 { // as templates do that take either
		t.Errorf("a key and a password: %d", code)
	}
	if code, _, _ := l.call("PUT", setPath+"2", with(t, password, key)); code != 201 {
		t.Errorf("a key alone: %d", code)
	}
}

// TestClientsReadAndWriteBack does what az does: what was read is changed and written as a whole, without secrets.
func TestClientsReadAndWriteBack(t *testing.T) {
	g := newFakeGuest()
	l := newLab(t, sim.Config{Exec: g.exec}, nil)
	l.succeed(l.put(setPath, setBody(1, extensions(customExtension("a", `{}`, `{"commandToExecute":"true"}`, "")))))
	before := l.get(setPath)
	if p := at(before, "properties", "virtualMachineProfile"); p["x"] != nil || fmt.Sprint(at(before, "properties")["overprovision"]) != "false" {
		t.Errorf("properties: %v", p)
	}
	infos, _ := l.engine.List(t.Context())
	delete(at(before, "properties", "virtualMachineProfile", "storageProfile"), "imageReference")
	before["tags"] = map[string]any{"team": "one"}
	l.succeed(l.put(setPath, jsonOf(before)))
	after := l.get(setPath)
	if at(after, "properties", "virtualMachineProfile", "storageProfile", "imageReference")["publisher"] != "lido" {
		t.Errorf("the image is lost: %v", after)
	}
	if v := l.get(setPath + "/virtualMachines/0"); at(v, "properties")["latestModelApplied"] != true || at(v, "tags")["team"] != "one" {
		t.Errorf("the password or the script was taken as changed: %v", v)
	}
	if now, _ := l.engine.List(t.Context()); now[0].ID != infos[0].ID || g.ran() != 1 {
		t.Errorf("the machine was replaced, or the script ran again (%d)", g.ran())
	}
	code, m, h := l.call("PATCH", setPath, `{"sku":{"capacity":2},"tags":{"team":null}}`)
	if code != 200 {
		t.Fatalf("PATCH: %d %v", code, m)
	}
	l.succeed(h)
	if got := ids(l.get(setPath + "/virtualMachines")); got != "0 1" {
		t.Errorf("after PATCH: %s", got)
	}
}
