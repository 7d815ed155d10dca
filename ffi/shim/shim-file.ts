/// <reference path="./modules.d.ts" />
/** Where the compiled shim lies: a path on disk when run from source, an embedded file in the executable. */
import path from "../build/librfaas.so" with { type: "file" };

export const shimFile: string = path;
