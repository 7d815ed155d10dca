import type { Artefact } from "./artefact.ts";
import { npmMain } from "./npm/main.ts";
import { npmPlatform } from "./npm/platform.ts";

/** In the order in which they are made. */
export const ARTEFACTS: readonly Artefact[] = [npmMain, npmPlatform];
