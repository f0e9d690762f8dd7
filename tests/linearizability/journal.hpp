// Journals, checked without a search.
//
// Operations: `append` [message, ...] -> [id, ...]; `read` {"after": id, "max": n} -> {"entries": [[id, message], ...],
// "end": bool} ("max" and "end" may be left out: no bound, and no claim). Ids are positive. The sequential
// specification: an append adds its messages at the end, with ids that are consecutive and greater than all before. A
// read gives the first entries after `after`, at most `max`, none of them missing; "end" says that nothing follows the
// last of them (or `after`, when there are none). Nothing is ever removed. All messages of a journal differ.
//
// Why no search is needed:
//
// 1. An append of unknown outcome whose messages nobody read can be left out. From any linearization with it one
//    without it is made by removing it: other appends stay legal, for their ids still rise; a read that did not return
//    its messages had its ids outside (after, last read], so it still misses nothing, and what was the end still is.
// 2. One whose message was read did take effect, and its ids are known: the id read, less the place in the batch.
// 3. Ids rise, so the appends that took effect can only come in the order of their ids, A1, A2, ... That entries are
//    real, and that reads miss nothing up to their last, can be judged from this list alone, whenever the read was.
// 4. What remains is time: instants t1 <= t2 <= ... with t_i in the interval of A_i (open to the right when its outcome
//    was unknown); and for a read R an instant in its interval, not before t_k if R's last entry is of A_k, and not
//    after t_m if R saw the end and A_m is the first append with ids after that. (Instants may be equal: operations at
//    one instant are ordered as the specification wants, and none of them returned before another was called.)
//    Taking each t_i as early as the calls of A_1..A_i and of the reads that saw the end before them allow is best: all
//    other demands are upper bounds, each on one t_i: the return of A_i, and of each R with k = i. R itself then goes
//    to the later of its call and t_k, which is not after its return nor after t_m.
//
// So a journal is linearizable exactly when 2 and 3 contradict nothing and the earliest instants meet the upper bounds:
// O(n log n), and a contradiction is a handful of operations and a sentence.
#pragma once

#include <string>
#include <vector>

#include "linearizability/models.hpp"

namespace coterie::linearizability {

/// Operations of one journal that contradict each other; none when it is linearizable.
struct journal_verdict {
  std::vector<std::size_t> involved;  ///< places in the list; empty = linearizable
  std::string why;
};

/// Decides whether the operations of one journal are linearizable. An operation in another form than above, or a
/// message that was appended twice, is malformed.
tl::expected<journal_verdict, malformed> check_journal(const operation_list&);

}  // namespace coterie::linearizability
