// SPDX-License-Identifier: Apache-2.0
//
// Lists of types, for benchmarks that are the same for each of them.

#ifndef LARDER_BENCH_SUPPORT_TYPE_LIST_H_
#define LARDER_BENCH_SUPPORT_TYPE_LIST_H_

namespace larder::bench {

template <class... Types>
struct TypeList {
  // TypeList<A, B>::Each<F> is TypeList<F<A>, F<B>>.
  template <template <class> class F>
  using Each = TypeList<F<Types>...>;
};

template <class... Lists>
struct ConcatTypes;

template <class... Types>
struct ConcatTypes<TypeList<Types...>> {
  using List = TypeList<Types...>;
};

template <class... A, class... B, class... Rest>
struct ConcatTypes<TypeList<A...>, TypeList<B...>, Rest...> {
  using List = typename ConcatTypes<TypeList<A..., B...>, Rest...>::List;
};

// One list of all the lists' types, in their order.
template <class... Lists>
using Concat = typename ConcatTypes<Lists...>::List;

// Calls f.template operator()<T>() for each type T.
template <class... Types, class F>
void ForEachType(TypeList<Types...>, F&& f) {
  (f.template operator()<Types>(), ...);
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_TYPE_LIST_H_
