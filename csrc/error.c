#include "fastattr.h"

#include <stdarg.h>
#include <stdio.h>

fa_status fa_fail(fa_error *error, fa_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
    return status;
}
