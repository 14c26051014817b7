//go:build root

package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// command runs a lido command on a data directory and returns what it printed.
func command(t *testing.T, lido, data string, args ...string) string {
	t.Helper()
	cmd := exec.Command(lido, args...)
	cmd.Env = append(os.Environ(), "LIDO_DATA="+data)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("lido %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// simulated starts a lido with simulated machines and returns where it is, its CA, and a service principal with all
// rights; the test's end takes it away.
func simulated(t *testing.T) (url string, ca []byte, app, secret string) {
	t.Helper()
	lido := filepath.Join(buildLido(t), "lido")
	data, err := os.MkdirTemp("", "lido-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command(t, lido, data, "down", "--purge", "--yes")
		os.RemoveAll(data)
	})
	started := command(t, lido, data, "up", "--listen", "127.0.0.1:0", "--engine", "sim", "--detach")
	for word := range strings.FieldsSeq(started) {
		if strings.HasPrefix(word, "https://") {
			url = word
		}
	}
	if ca, err = os.ReadFile(filepath.Join(data, "ca", "ca.pem")); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(command(t, lido, data, "user", "add", "--owner", "--service-principal", "ci")) {
		if _, v, ok := strings.Cut(line, "app id:"); ok {
			app = strings.TrimSpace(v)
		}
		if _, v, ok := strings.Cut(line, "password:"); ok {
			secret = strings.TrimSpace(v)
		}
	}
	return url, ca, app, secret
}

// The Azure SDK for Go signs in, deploys a pool, scales it and deletes it, with its own pollers.
func TestGoSDK(t *testing.T) {
	url, ca, app, secret := simulated(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	options := policy.ClientOptions{
		Transport: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: url, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: url, Audience: url}}},
	}
	credential, err := azidentity.NewClientSecretCredential("adfs", app, secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	must(t, err)
	c := &goSDK{t: t, ctx: ctx, credential: credential, options: &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true}}
	c.findSubscription(url)
	c.deploy()
	c.scale()
	c.errors()
	c.remove()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var quick = &runtime.PollUntilDoneOptions{Frequency: time.Second} // the SDK takes no less

type goSDK struct {
	t            *testing.T
	ctx          context.Context
	credential   azcore.TokenCredential
	options      *arm.ClientOptions
	subscription string
}

// findSubscription asks with a bare pipeline: the client for subscriptions is a module of its own.
func (c *goSDK) findSubscription(url string) {
	token, err := c.credential.GetToken(c.ctx, policy.TokenRequestOptions{Scopes: []string{url + "/.default"}})
	must(c.t, err)
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, url+"/subscriptions?api-version=2022-12-01", nil)
	must(c.t, err)
	req.Header.Set("Authorization", "Bearer "+token.Token)
	resp, err := c.options.Transport.Do(req)
	must(c.t, err)
	defer resp.Body.Close()
	var list struct {
		Value []struct {
			SubscriptionID string `json:"subscriptionId"`
		}
	}
	must(c.t, json.NewDecoder(resp.Body).Decode(&list))
	c.subscription = list.Value[0].SubscriptionID
}

const poolTemplate = `{
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
  "parameters": {"password": {"type": "securestring"}},
  "variables": {"net": "[resourceId('Microsoft.Network/virtualNetworks', 'net')]"},
  "resources": [
    {"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2022-01-01", "name": "net", "location": "eastus",
     "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [{"name": "pool", "properties": {"addressPrefix": "10.0.0.0/24"}}]}},
    {"type": "Microsoft.Compute/virtualMachineScaleSets", "apiVersion": "2022-11-01", "name": "pool", "location": "eastus",
     "dependsOn": ["[variables('net')]"], "sku": {"name": "Standard_D2s_v3", "capacity": 2},
     "properties": {"upgradePolicy": {"mode": "Automatic"}, "virtualMachineProfile": {
       "osProfile": {"computerNamePrefix": "pool", "adminUsername": "ada", "adminPassword": "[parameters('password')]"},
       "storageProfile": {"imageReference": {"publisher": "Canonical", "offer": "UbuntuServer", "sku": "18.04-LTS", "version": "latest"}},
       "networkProfile": {"networkInterfaceConfigurations": [{"name": "nic", "properties": {"primary": true, "ipConfigurations": [
         {"name": "ip", "properties": {"subnet": {"id": "[concat(variables('net'), '/subnets/pool')]"}}}]}}]}}}}],
  "outputs": {"capacity": {"type": "int", "value": "[reference('pool', '2022-11-01', 'Full').sku.capacity]"}}
}`

func (c *goSDK) deploy() {
	groups, err := armresources.NewResourceGroupsClient(c.subscription, c.credential, c.options)
	must(c.t, err)
	_, err = groups.CreateOrUpdate(c.ctx, "team", armresources.ResourceGroup{Location: ptr("eastus")}, nil)
	must(c.t, err)
	deployments, err := armresources.NewDeploymentsClient(c.subscription, c.credential, c.options)
	must(c.t, err)
	var template map[string]any
	must(c.t, json.Unmarshal([]byte(poolTemplate), &template))
	poller, err := deployments.BeginCreateOrUpdate(c.ctx, "team", "pool", armresources.Deployment{Properties: &armresources.DeploymentProperties{
		Mode: ptr(armresources.DeploymentModeIncremental), Template: template, Parameters: map[string]any{"password": map[string]any{"value": "Lido-Passw0rd-1"}}}}, nil)
	must(c.t, err)
	done, err := poller.PollUntilDone(c.ctx, quick)
	must(c.t, err)
	outputs, _ := json.Marshal(done.Properties.Outputs)
	if !strings.Contains(string(outputs), `"value":2`) {
		c.t.Errorf("outputs %s", outputs)
	}
}

func (c *goSDK) sets() *armcompute.VirtualMachineScaleSetsClient {
	sets, err := armcompute.NewVirtualMachineScaleSetsClient(c.subscription, c.credential, c.options)
	must(c.t, err)
	return sets
}

func (c *goSDK) scale() {
	poller, err := c.sets().BeginUpdate(c.ctx, "team", "pool", armcompute.VirtualMachineScaleSetUpdate{SKU: &armcompute.SKU{Name: ptr("Standard_D2s_v3"), Capacity: ptr(int64(3))}}, nil)
	must(c.t, err)
	done, err := poller.PollUntilDone(c.ctx, quick)
	must(c.t, err)
	if *done.SKU.Capacity != 3 {
		c.t.Errorf("capacity %d", *done.SKU.Capacity)
	}
	vms, err := armcompute.NewVirtualMachineScaleSetVMsClient(c.subscription, c.credential, c.options)
	must(c.t, err)
	var ids []string
	for pager := vms.NewListPager("team", "pool", nil); pager.More(); {
		page, err := pager.NextPage(c.ctx)
		must(c.t, err)
		for _, vm := range page.Value {
			ids = append(ids, *vm.InstanceID)
		}
	}
	if got := strings.Join(ids, " "); got != "0 1 2" {
		c.t.Errorf("instances %s", got)
	}
}

func (c *goSDK) errors() {
	_, err := c.sets().Get(c.ctx, "team", "nosuch", nil)
	var refused *azcore.ResponseError
	if !errors.As(err, &refused) || refused.ErrorCode != "ResourceNotFound" || refused.StatusCode != 404 {
		c.t.Errorf("a set that is not there: %v", err)
	}
}

func (c *goSDK) remove() {
	poller, err := c.sets().BeginDelete(c.ctx, "team", "pool", nil)
	must(c.t, err)
	_, err = poller.PollUntilDone(c.ctx, quick)
	must(c.t, err)
	groups, err := armresources.NewResourceGroupsClient(c.subscription, c.credential, c.options)
	must(c.t, err)
	gone, err := groups.BeginDelete(c.ctx, "team", nil)
	must(c.t, err)
	_, err = gone.PollUntilDone(c.ctx, quick)
	must(c.t, err)
	there, err := groups.CheckExistence(c.ctx, "team", nil)
	must(c.t, err)
	if there.Success {
		c.t.Error("the group is still there")
	}
}

func ptr[T any](v T) *T { return &v }
