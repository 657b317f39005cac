package memory

import (
	"testing"

	"github.com/leno-mesh/leno/control/store"
	"github.com/leno-mesh/leno/control/store/storetest"
)

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return New() })
}
