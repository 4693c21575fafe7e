// Names of methods, from the one table.
#include "wire/methods.h"

const char *mst_method_name(uint16_t method)
{
    switch (method) {
#define X(name, number, text)                                                                                          \
    case number:                                                                                                       \
        return text;
        MST_METHOD_MAP(X)
#undef X
    default:
        return "unknown";
    }
}
