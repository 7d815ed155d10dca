import type { Artefact } from "./artefact.ts";

/** In the order in which they are made. */
export const ARTEFACTS: readonly Artefact[] = [];
