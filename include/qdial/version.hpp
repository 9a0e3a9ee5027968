// SPDX-License-Identifier: Apache-2.0
//
// The one place that names qdial's version; the build reads it from here.
#pragma once

#define QDIAL_VERSION_MAJOR 0
#define QDIAL_VERSION_MINOR 1
#define QDIAL_VERSION_PATCH 0
