/** What `npm run pack` makes: an artefact is a line in `registry.ts` and a file or folder here. */
import type { Platform } from "../target/platform.ts";

/** What the makers of artefacts are given. */
export interface Packing {
  /** Of package.json. */
  version: string;
  /** What the artefacts are for. */
  platforms: readonly Platform[];
  /** The folder of the artefacts. */
  out: string;
  /** A folder of this artefact's own, empty, that is removed afterwards. */
  scratch: string;
  /** The time that every file and archive gets, in seconds since 1970: that of the last commit, or `SOURCE_DATE_EPOCH`. */
  epochS: number;
  /** The executable of a platform; made once. */
  executable(platform: Platform): Promise<string>;
  /** The native shim of a platform, `librfaas.so`; made once. */
  shim(platform: Platform): Promise<string>;
}

export interface Artefact {
  /** One word, by which `npm run pack NAME...` makes it alone. */
  name: string;
  /** Returns the names of the files that it has written to `out`. The same commit gives the same bytes. */
  make(packing: Packing): Promise<string[]>;
}
