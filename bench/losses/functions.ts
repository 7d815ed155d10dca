/** Functions of the measurement of losses. */
import type { RawFunction } from "../../src/function/index.ts";

export const answers: RawFunction = () => 0;

export const never: RawFunction = () => new Promise<number>(() => {});
