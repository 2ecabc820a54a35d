/* One dtype at one CPU level. */
#include "panel_kernels.h"

#include "activate_kernels.h"

#include "sweep_kernels.h"

static const fa_dense_ops FN(dense_ops) = {.width = WIDTH,
                                           .packed = FN(packed),
                                           .pack = FN(pack),
                                           .multiply = FN(multiply),
                                           .activate = FN(activate),
                                           .gate = FN(gate),
                                           .dot = FN(dot),
                                           .blend = FN(blend),
                                           .sides = FN(sides),
                                           .turn = FN(turn),
                                           .project = FN(project),
                                           .cumulate = FN(cumulate)};
