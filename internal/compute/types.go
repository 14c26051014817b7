// Package compute is Microsoft.Compute: scale sets and their instances, sizes, image references, extensions.
//
// A scale set's document says what is wished for; its instances are documents of their own, made and removed by the
// room. The reconciler makes machines of them with a machine.Engine, and is the only one that does. See DESIGN.md.
package compute

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
)

// The resource types of this room.
const (
	TypeSet      = "Microsoft.Compute/virtualMachineScaleSets"
	TypeInstance = TypeSet + "/virtualMachines"
)

// Model is what the instances of a set are made from: its size and its virtual machine profile. Instances keep the
// model they were made from until they are upgraded, so models are kept by their hash.
type Model struct {
	Location string         `json:"location"`
	Sku      sku            `json:"sku"`
	Plan     map[string]any `json:"plan,omitempty"`
	Profile  profile        `json:"profile"`

	machineHash string      // names what a machine cannot change while it lives
	extensions  []extension // in the order to run them in
}

type sku struct {
	Name     string  `json:"name,omitempty"`
	Tier     string  `json:"tier,omitempty"`
	Capacity arm.Int `json:"capacity,omitempty"`
}

// set is a scale set's document as this room reads it.
type set struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Sku        sku               `json:"sku"`
	Properties setProperties     `json:"properties"`
}

type setProperties struct {
	OrchestrationMode string `json:"orchestrationMode"`
	UpgradePolicy     struct {
		Mode    string `json:"mode"`
		Rolling struct {
			BatchPercent arm.Int `json:"maxBatchInstancePercent"`
		} `json:"rollingUpgradePolicy"`
	} `json:"upgradePolicy"`
	AutomaticRepairs struct {
		Enabled arm.Bool `json:"enabled"`
	} `json:"automaticRepairsPolicy"`
	ScaleIn struct {
		Rules []string `json:"rules"`
	} `json:"scaleInPolicy"`
	Overprovision arm.Bool `json:"overprovision"`
	Profile       profile  `json:"virtualMachineProfile"`
}

type profile struct {
	OS      osProfile `json:"osProfile"`
	Storage struct {
		Image imageReference `json:"imageReference"`
		Disk  struct {
			OSType       string         `json:"osType"`
			CreateOption string         `json:"createOption"`
			SizeGB       arm.Int        `json:"diskSizeGB"`
			Image        map[string]any `json:"image"`
		} `json:"osDisk"`
		DataDisks []any `json:"dataDisks"`
	} `json:"storageProfile"`
	Network struct {
		Interfaces []InterfaceConfig `json:"networkInterfaceConfigurations"`
	} `json:"networkProfile"`
	Extensions struct {
		List []extension `json:"extensions"`
	} `json:"extensionProfile"`
	UserData string `json:"userData"`
}

type imageReference struct {
	ID        string     `json:"id,omitempty"`
	Publisher string     `json:"publisher,omitempty"`
	Offer     string     `json:"offer,omitempty"`
	SKU       string     `json:"sku,omitempty"`
	Version   arm.String `json:"version,omitempty"`

	SharedGalleryImageID    string `json:"sharedGalleryImageId,omitempty"`
	CommunityGalleryImageID string `json:"communityGalleryImageId,omitempty"`
}

func (i imageReference) String() string {
	if i.ID != "" {
		return i.ID
	}
	return strings.Join([]string{i.Publisher, i.Offer, i.SKU, string(i.Version)}, ":")
}

type osProfile struct {
	ComputerNamePrefix string         `json:"computerNamePrefix"`
	AdminUsername      string         `json:"adminUsername"`
	AdminPassword      string         `json:"adminPassword"`
	CustomData         string         `json:"customData"`
	Windows            map[string]any `json:"windowsConfiguration"`
	Linux              struct {
		DisablePasswordAuthentication arm.Bool `json:"disablePasswordAuthentication"`
		SSH                           struct {
			PublicKeys []publicKey `json:"publicKeys"`
		} `json:"ssh"`
	} `json:"linuxConfiguration"`
}

type publicKey struct {
	Path    string `json:"path"`
	KeyData string `json:"keyData"`
}

type extension struct {
	Name       string              `json:"name"`
	Properties extensionProperties `json:"properties"`

	hash string // names the wish: the extension is run again when it changes
}

type extensionProperties struct {
	Publisher         string     `json:"publisher"`
	Type              string     `json:"type"`
	Version           arm.String `json:"typeHandlerVersion"`
	ForceUpdateTag    arm.String `json:"forceUpdateTag"`
	Settings          any        `json:"settings"`          // an object, or the placeholder of one
	ProtectedSettings any        `json:"protectedSettings"` // an object, or the placeholder of one
	After             []string   `json:"provisionAfterExtensions"`
	SuppressFailures  arm.Bool   `json:"suppressFailures"`
}

func hashOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("compute: hash: %v", err)) // only plain data is ever hashed
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}

// Power is the power state that an instance is wished to have.
type Power string

// The power states. A stopped instance keeps its memory reserved, a deallocated one does not.
const (
	PowerOn          Power = "running"
	PowerOff         Power = "stopped"
	PowerDeallocated Power = "deallocated"
)

// wish is the desired half of an instance's document. Actions are wishes too: they count a counter up, and the status
// says up to where it was carried out, so that a crash in the middle loses none.
type wish struct {
	Number     int         `json:"number"`
	Computer   string      `json:"computer"`           // host name
	Model      string      `json:"model"`              // hash of the model to be made from
	Power      Power       `json:"power"`              // wished power state
	Starts     int         `json:"starts"`             // how often it was wished to be started
	Restarts   int         `json:"restarts,omitempty"` // how often to be restarted
	Serial     int         `json:"serial"`             // counts the machines of this instance; a new number is a new machine
	Surplus    time.Time   `json:"surplus,omitzero"`   // since when the set has no need of it; it drains, then goes
	Protection *protection `json:"protection,omitempty"`
}

type protection struct {
	ScaleIn arm.Bool `json:"protectFromScaleIn"`
	Actions arm.Bool `json:"protectFromScaleSetActions"`
}

// status is the status half of an instance's document.
type status struct {
	arm.Status
	Serial        int               `json:"serial,omitempty"` // of the machine that was made
	Built         string            `json:"built,omitempty"`  // machineHash of its model
	Starts        int               `json:"starts,omitempty"`
	Restarts      int               `json:"restarts,omitempty"`
	Power         Power             `json:"power,omitempty"`    // that was brought about last
	PowerAt       time.Time         `json:"powerAt,omitzero"`   // when
	ChangedAt     time.Time         `json:"changedAt,omitzero"` // of the provisioning state
	Attempts      int               `json:"attempts,omitempty"` // failed ones in a row
	RetryAt       time.Time         `json:"retryAt,omitzero"`
	FailedAt      time.Time         `json:"failedAt,omitzero"`
	SetGeneration int64             `json:"setGeneration,omitempty"` // of the set, when Attempts and extensions were counted
	Repairs       int               `json:"repairs,omitempty"`       // machines replaced since it last was well
	RevivedAt     time.Time         `json:"revivedAt,omitzero"`      // when a machine that failed was started again
	Extensions    []extensionStatus `json:"extensions,omitempty"`
	Image         *ImageInfo        `json:"image,omitempty"`
	NoAddress     bool              `json:"noAddress,omitempty"` // the network had none to give
	Draining      bool              `json:"draining,omitempty"`  // the network was told so
}

// extensionStatus is what became of one extension on one machine.
type extensionStatus struct {
	Name     string    `json:"name"`
	Hash     string    `json:"hash"`     // of the wish it is about
	Seq      int       `json:"seq"`      // numbers the runs on a machine; names its directory there
	State    string    `json:"state"`    // transitioning, succeeded, failed, notrun
	ExitCode int       `json:"exitCode"` // of the command
	Message  string    `json:"message"`  // with the ends of its output, without secrets
	Time     time.Time `json:"time"`     // of the last change
}

// The states of an extension.
const (
	extRunning   = "transitioning"
	extSucceeded = "succeeded"
	extFailed    = "failed"
	extNotRun    = "notrun" // of a type that lido does not run
)

// setStatus is the status half of a set's document.
type setStatus struct {
	arm.Status
	Next      int       `json:"next"` // number of the next instance; numbers are never used again
	ChangedAt time.Time `json:"changedAt,omitzero"`
}

// machineID names an instance's machine. uid is that of the instance's document, so a machine is never mistaken for
// one of an earlier instance.
func machineID(uid string, serial int) string {
	return "vm-" + strings.ReplaceAll(uid, "-", "")[:16] + "-" + strconv.Itoa(serial)
}

// computerName is Azure's: the prefix and the instance's number as 6 digits of base 36.
func computerName(prefix string, number int) string {
	n := strings.ToUpper(strconv.FormatInt(int64(number), 36))
	return prefix + strings.Repeat("0", max(0, 6-len(n))) + n
}

// instanceID returns the id of a set's instance.
func instanceID(setID string, number int) string {
	return setID + "/virtualMachines/" + strconv.Itoa(number)
}

// setOf returns the id of the set that an instance's id or anything else below a set belongs to.
func setOf(id arm.ID) arm.ID {
	id.Types, id.Names = id.Types[:1], id.Names[:1]
	return id
}
