/** Runs first in each thread of a script. */
import { provideLibrary } from "./modules.ts";

provideLibrary(Bun.main);
