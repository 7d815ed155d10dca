/** What the builds define. No other place of `src/` asks. */

/** Defined by the build of the executable. */
declare const RFAAS_COMPILED: boolean | undefined;
/** Defined by the build of the npm package. */
declare const RFAAS_INSTALLED: boolean | undefined;

/** This is the rfaas executable. */
export const compiled: boolean = typeof RFAAS_COMPILED !== "undefined" && RFAAS_COMPILED;
/** This code comes out of the npm package, which has neither sources nor a shim, wherever it has been bundled to since. */
export const packed: boolean = typeof RFAAS_INSTALLED !== "undefined" && RFAAS_INSTALLED;
