// Command kuberayrules answers with KubeRay's own code: what it refuses in an object, and the hash by which it decides
// whether a change needs a new cluster. One JSON request a line in, one JSON answer a line out:
//
//	{"op": "validate", "object": RayService}    -> {"errors": ["..."]}
//	{"op": "hash", "object": RayClusterSpec}    -> {"hash": "..."}
//
// A request that cannot be read, or an object KubeRay's own code panics on, is answered with {"failed": "..."}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

type request struct {
	Op     string          `json:"op"`
	Object json.RawMessage `json:"object"`
}

type answer struct {
	Errors []string `json:"errors,omitempty"`
	Hash   string   `json:"hash,omitempty"`
	Failed string   `json:"failed,omitempty"`
}

func main() {
	// Off by default in 1.6, where the options of an incremental upgrade would then not be looked at.
	if err := utilfeature.DefaultMutableFeatureGate.Set("RayServiceIncrementalUpgrade=true"); err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		if err := answers.Encode(reply(lines.Bytes())); err != nil {
			log.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func reply(line []byte) (out answer) {
	defer func() {
		if cause := recover(); cause != nil {
			out = answer{Failed: fmt.Sprintf("panic: %v", cause)}
		}
	}()
	var in request
	if err := json.Unmarshal(line, &in); err != nil {
		return answer{Failed: err.Error()}
	}
	switch in.Op {
	case "validate":
		var service rayv1.RayService
		if err := json.Unmarshal(in.Object, &service); err != nil {
			return answer{Failed: err.Error()}
		}
		for _, err := range []error{
			utils.ValidateRayServiceMetadata(service.ObjectMeta),
			utils.ValidateRayServiceSpec(&service),
		} {
			if err != nil {
				out.Errors = append(out.Errors, err.Error())
			}
		}
		return out
	case "hash":
		var spec rayv1.RayClusterSpec
		if err := json.Unmarshal(in.Object, &spec); err != nil {
			return answer{Failed: err.Error()}
		}
		hash, err := utils.GenerateHashWithoutReplicasAndWorkersToDelete(spec)
		if err != nil {
			return answer{Failed: err.Error()}
		}
		return answer{Hash: hash}
	}
	return answer{Failed: fmt.Sprintf("unknown op %q", in.Op)}
}
