/** Functions of calls that stay in flight. */
import type { RawFunction } from "../../src/function/index.ts";

export const fine: RawFunction = () => 0;

export const never: RawFunction = () => new Promise<number>(() => {});
