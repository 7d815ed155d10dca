/** Fields that many messages have. */
import { Type } from "@sinclair/typebox";

export const count = Type.Integer({ minimum: 1, maximum: 0xffffffff });
export const index = Type.Integer({ minimum: 0, maximum: 0xffffffff });
/** Names a call of a worker: calls are counted for the life of the lease. */
export const sequence = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
export const text = Type.String({ maxLength: 64 * 1024 });
