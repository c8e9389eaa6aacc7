/** Parameters under the names that PyTorch gives them. */
import type { TensorSpec } from '../safetensors.js'

export function parameter(name: string, ...shape: number[]): TensorSpec {
  return { name, dtype: 'F32', shape }
}

export function linear(prefix: string, outputs: number, inputs: number): readonly TensorSpec[] {
  return [parameter(`${prefix}.weight`, outputs, inputs), parameter(`${prefix}.bias`, outputs)]
}

export function layerNorm(prefix: string, width: number): readonly TensorSpec[] {
  return [parameter(`${prefix}.weight`, width), parameter(`${prefix}.bias`, width)]
}

export function byName(specs: readonly TensorSpec[]): readonly TensorSpec[] {
  return [...specs].sort((a, b) => (a.name < b.name ? -1 : 1))
}
