// Removes nodes whose outputs nothing reads.
#include "passes/pass.h"

namespace pyinfer {

void eliminate_dead_code(GraphEdit& edit, const PassContext&) {
  edit.remove_unused();
}

}  // namespace pyinfer
