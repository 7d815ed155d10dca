import type { Artefact } from "./artefact.ts";
import { npmMain } from "./npm/main.ts";
import { npmPlatform } from "./npm/platform.ts";
import { sbom } from "./sbom.ts";
import { deb } from "./system/deb.ts";
import { rpm } from "./system/rpm.ts";
import { tarball } from "./system/tarball.ts";

/** In the order in which they are made. */
export const ARTEFACTS: readonly Artefact[] = [npmMain, npmPlatform, sbom, deb, rpm, tarball];
