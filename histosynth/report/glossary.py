"""What every metric means, in one sentence, and where it misleads: the words of the report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is named, read and warned about."""

    name: str
    label: str
    higher_is_better: bool
    meaning: str
    caveat: str

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        if self.name in EFFECT_SIZES:
            return "0 is no difference"
        return "higher is better" if self.higher_is_better else "lower is better"


EFFECT_SIZES = (
    "od_hematoxylin_d",
    "od_eosin_d",
    "od_hematoxylin_sd_d",
    "od_eosin_sd_d",
    "nuclei_count_d",
    "nuclei_area_d",
    "class_area_d",
    "class_entropy_d",
)
# What all plain neighbour scores share.
_BALLS = (
    " A neighbourhood reaches to the k-th nearest image of the same set (evaluation.neighbours, 5 "
    "unless the study says otherwise); inside is distance < radius, as in the prdc package."
)
_METRICS = (
    Metric(
        "frechet_distance",
        "Fréchet distance",
        False,
        "How far the synthetic images lie from real test images as two clouds of features, "
        "each summed up by its mean and covariance.",
        "Its size depends on the encoder and on the number of images, so read it only within one "
        "column and beside the real row; it cannot tell poor images from a lack of variety.",
    ),
    Metric(
        "kernel_distance",
        "Kernel distance",
        False,
        "How far the two clouds of features lie apart by a polynomial kernel (squared MMD); "
        "without a bias for independent images, so that slightly negative values occur.",
        "Tiles of one patient are alike, so few patients lift it above zero, however many images "
        "there are: read it beside the real row, whose patients are others too. Less dependent on "
        "the number of images than the Fréchet distance, but noisier in small samples.",
    ),
    Metric(
        "precision",
        "Precision",
        True,
        "The share of synthetic images that fall into a real image’s neighbourhood: do they look "
        "real?" + _BALLS,
        "One odd real image with far neighbours can accept many poor samples; blind to copies.",
    ),
    Metric(
        "recall",
        "Recall",
        True,
        "The share of real images that fall into a synthetic one’s neighbourhood: is the variety "
        "there?" + _BALLS,
        "Scattered, poor samples can raise it.",
    ),
    Metric(
        "density",
        "Density",
        True,
        "How many real neighbourhoods an average synthetic image falls into, next to what real "
        "images would give; may pass 1." + _BALLS,
        "Rises when samples crowd around common tissue.",
    ),
    Metric(
        "coverage",
        "Coverage",
        True,
        "The share of real images with a synthetic one in their neighbourhood." + _BALLS,
        "Copies of training images raise it as good samples do.",
    ),
    Metric(
        "clipped_density",
        "Clipped density",
        True,
        "Density in which no real and no synthetic image counts more than once and odd real images "
        "get no large neighbourhood; reads as the share of synthetic images that are good. k as of "
        "density; inside is distance ≤ radius, no radius above the median of all.",
        "1 is what real images score against themselves, and anything above it is cut off.",
    ),
    Metric(
        "clipped_coverage",
        "Clipped coverage",
        True,
        "Coverage in which no synthetic image counts for much of the real ones; reads as the share "
        "of good images that would cover as much. k as of coverage; inside is distance < radius.",
        "Its scale takes images for independent, which tiles of a patient are not: read it beside "
        "the real row.",
    ),
    Metric(
        "frechet_distance_inf",
        "Fréchet distance, extrapolated",
        False,
        "The Fréchet distance of infinitely many images, foretold from these and from halves of "
        "both sets, which takes most of the bias of small sets away.",
        "With fewer images than twice the number of features it is mostly bias, and has no "
        "interval; else one as wide as that of the plain distance. What few patients add to it "
        "stays: read it beside the real row.",
    ),
    Metric(
        "kernel_distance_rbf",
        "Kernel distance, Gaussian",
        False,
        "The kernel distance with a Gaussian kernel (as CMMD), whose width is the median distance "
        "between real images; sees any kind of difference. Few patients lift it likewise.",
        "Compares only at one width, which is part of the protocol.",
    ),
    Metric(
        "sliced_wasserstein",
        "Sliced Wasserstein",
        False,
        "How far images have to move along a random direction of feature space to turn one set "
        "into the other, on average over 256 directions.",
        "Not zero for samples of one distribution: compare with the real row.",
    ),
    Metric(
        "vendi",
        "Vendi score",
        True,
        "The effective number of different images in the set, by the similarity of their features.",
        "Noise is diverse too: more than real images score is no merit. Grows with the number of "
        "images.",
    ),
    Metric(
        "classifier_auc",
        "Real-or-synthetic AUC",
        False,
        "How well a logistic classifier tells synthetic images from real ones of patients that it "
        "has not seen; 0.5 where it cannot tell. It gets at most 2,000 images of each set.",
        "Near 1 for almost every generator, as one small but constant trace is enough; where less "
        "than one image ranks wrong it has no interval. Below 0.5 is chance, not "
        "merit: what lies there, or has 0.5 in its interval, is equal in rank.",
    ),
    Metric(
        "cluster_occupancy",
        "Cluster occupancy",
        False,
        "How far the shares of the tissue clusters in the set lie from those in real tissue "
        "(Jensen-Shannon divergence, 0 to 1).",
        "Sees only how often each cluster occurs, not what its images look like; a few images give "
        "more than zero by chance.",
    ),
    Metric(
        "round_trip_psnr",
        "Round-trip PSNR",
        True,
        "How near real test tiles stay to themselves when they go through the autoencoder and "
        "back, pixel by pixel, in dB.",
        "A latent space that keeps pixels well may still be a poor one to generate in: it ranks "
        "nobody.",
    ),
    Metric(
        "round_trip_perceptual",
        "Round-trip perceptual distance",
        False,
        "How different a real test tile and its round trip look to SqueezeNet: the distance of "
        "normalized features after seven of its layers (Zhang et al. 2018, without their learned "
        "weights).",
        "Comparable only under the same network weights and tile size.",
    ),
    Metric(
        "map_iou",
        "Map IoU",
        True,
        "A segmenter trained on real tissue reads the synthetic image; how well does what it sees "
        "overlap the map that was asked for (mean over classes)?",
        "The judge errs too: its score on real test tiles is the ceiling to compare with.",
    ),
    Metric(
        "map_iou_ratio",
        "Map adherence",
        True,
        "Map IoU of the synthetic images over the same judge's map IoU on real test tiles.",
        "May pass 1 where synthetic tissue is plainer, and so easier to read, than real tissue.",
    ),
    Metric(
        "map_boundary_f",
        "Map boundary F",
        True,
        "Whether the outlines of each class run where the map asked for them: the harmonic mean of "
        "the shares of seen and of requested boundary pixels that meet one of the other side "
        "within 0.75 % of the tile’s diagonal, at least one pixel (mean over classes).",
        "Counts are summed over all tiles first. At one pixel of tolerance the judge’s own "
        "raggedness rules: read it as a share of real.",
    ),
    Metric(
        "map_boundary_f_ratio",
        "Boundary adherence",
        True,
        "Map boundary F of the synthetic images over the same judge's on real test tiles.",
        "May pass 1 where synthetic tissue has plainer borders than real tissue.",
    ),
    Metric(
        "label_accuracy",
        "Label accuracy",
        True,
        "How often a classifier trained on real tissue sees in the image the label asked for.",
        "Chance is not zero: compare with the shuffled row.",
    ),
    Metric(
        "label_accuracy_ratio",
        "Label adherence",
        True,
        "Label accuracy of the synthetic images over the same judge's accuracy on real test tiles.",
        "May pass 1 where synthetic images exaggerate the label.",
    ),
    Metric(
        "cluster_accuracy",
        "Cluster accuracy",
        True,
        "How often the cluster asked for is seen in the image by an encoder that took no part in "
        "the clustering: a logistic regression from its features, learnt on real training tiles.",
        "Clusters have no sharp borders: even real tiles score well below 1. Compare with the real "
        "and the shuffled row.",
    ),
    Metric(
        "cluster_accuracy_ratio",
        "Cluster adherence",
        True,
        "Cluster accuracy of the synthetic images over the same judge's on real test tiles.",
        "May pass 1 where synthetic images lie nearer to the middle of their cluster than real "
        "ones do.",
    ),
    Metric(
        "crop_style_auc",
        "Crop style AUC",
        True,
        "The chance that tissue of a class is nearer in stain and grain to the crop that the "
        "generator was shown for it than to a crop of the same class shown for another image; 0.5 "
        "for a generator that ignores its crops.",
        "The real row is real tiles against a crop cut out of them. Where crops show the very tile "
        "to be made, copied pixels count as obedience.",
    ),
    Metric(
        "embedding_similarity",
        "Embedding similarity",
        True,
        "How like its target the image is in the features of an encoder: the mean cosine of the "
        "two, each feature standardised by real training tiles. 1 is the target itself, 0 has "
        "nothing in common with it; the judge is another encoder than the generator was told of, "
        "where the study has one.",
        "The real row is each real tile against another tile of its slide, which is what a slide’s "
        "tissue shares; the autoencoder row is each tile against itself, passed through.",
    ),
    Metric(
        "downstream_iou",
        "Downstream IoU",
        True,
        "Mean IoU on real test patients of a segmentation network trained on real, synthetic or "
        "mixed tiles, for the same number of optimizer steps.",
        "Says what the images are worth for this network and budget, not how they look.",
    ),
    Metric(
        "downstream_auc",
        "Downstream AUC",
        True,
        "Area under the ROC curve, on real test patients, of a classifier trained on real, "
        "synthetic or mixed tiles.",
        "Close to 1 everywhere when the task is easy, and then says little.",
    ),
    Metric(
        "memorized_share_1pct",
        "Memorized share, 1 %",
        False,
        "The share of synthetic images that lie nearer to a training tile than all but 1 % of "
        "real tiles of held-out patients do; 1 % is expected without memorization.",
        "Finds a few copies among many honest images. Plain or blurred images lie near "
        "everything, so look at the pairs. At exactly 0 or 1 the interval holds what so few "
        "patients leave possible, were the images of each all alike.",
    ),
    Metric(
        "memorized_share_01pct",
        "Memorized share, 0.1 %",
        False,
        "As the 1 % share, beyond the nearest 0.1 % of held-out tiles; 0.1 % is expected.",
        "Takes 999 held-out tiles or more, and many patients to be steady.",
    ),
    Metric(
        "nearest_train_auc",
        "Nearest-train AUC",
        False,
        "The chance that a synthetic image lies nearer to the training tiles than a real tile of "
        "a held-out patient does; 0.5 without memorization.",
        "Sees a shift of all images, not a few copies. Below 0.5 is no merit: poor or blurred "
        "images lie far from everything in some features, be they copies or not. Above it may be "
        "blur too: compare with the autoencoder row.",
    ),
    Metric(
        "authenticity",
        "AuthPct, %",
        True,
        "How many synthetic images in a hundred lie farther from their nearest training tile than "
        "that tile lies from its own nearest neighbour.",
        "For comparison with papers only: judged unreliable. It has no expected value, as the real "
        "row shows.",
    ),
    Metric(
        "c_t",
        "C_T, one cell",
        True,
        "Z of the Mann-Whitney test of the two samples of distances to training tiles; strongly "
        "negative means copying.",
        "For comparison with papers only: judged unreliable. It takes tiles of a patient for "
        "independent and grows with their number; papers average it over cells of feature space.",
    ),
    Metric(
        "handed_over_share",
        "Pixels handed over",
        False,
        "The share of the target’s pixels that the condition shows to the generator.",
        "Only conditions with crops of the very tile to be made hand over any.",
    ),
    Metric(
        "pasted_share",
        "Pasted crops",
        False,
        "The share of the frame in which the generator is shown a crop, whoever’s tissue it is.",
        "The larger it is, the more of a real patient’s tissue could come out again.",
    ),
    Metric(
        "copied_inside",
        "Copied inside",
        False,
        "Correlation of the image with the crops shown to the generator, where they were shown, "
        "each channel centred within each crop.",
        "Read it against the shuffled row, which is another request’s crop of the same class in "
        "the same place. A stain that is taken over does not count as copied. The mean may hide a "
        "few copies: the star tells the highest of an image.",
    ),
    Metric(
        "copied_outside",
        "Copied outside",
        False,
        "Correlation of the image with its target’s pixels that were not shown to the generator, "
        "where it was shown no crop.",
        "A map alone makes image and target alike; the shuffled row has no common map.",
    ),
    Metric(
        "od_hematoxylin_d",
        "Haematoxylin",
        False,
        "Cohen’s d of the mean optical density of haematoxylin in a tile, synthetic images against "
        "real test tiles: the difference of the means in standard deviations.",
        "Stains are told apart by the colours of Ruifrok & Johnston, the same for all sets.",
    ),
    Metric(
        "od_eosin_d",
        "Eosin",
        False,
        "Cohen’s d of the mean optical density of eosin in a tile.",
        "As for haematoxylin.",
    ),
    Metric(
        "od_hematoxylin_sd_d",
        "Haematoxylin, contrast",
        False,
        "Cohen’s d of the standard deviation of haematoxylin over the pixels of a tile.",
        "Below 0 where images are blurred or washed out.",
    ),
    Metric(
        "od_eosin_sd_d",
        "Eosin, contrast",
        False,
        "Cohen’s d of the standard deviation of eosin over the pixels of a tile.",
        "As for haematoxylin.",
    ),
    Metric(
        "nuclei_count_d",
        "Nuclei a tile",
        False,
        "Cohen’s d of the number of nuclei found in a tile by threshold and watershed.",
        "A simple segmenter, so look at its outlines: crowded nuclei merge, ink and folds pass for "
        "nuclei. It errs alike only on sets that are stained and focused alike.",
    ),
    Metric(
        "nuclei_area_d",
        "Area of nuclei",
        False,
        "Cohen’s d of the areas of nuclei, over nuclei: those that tiles show whole, where each "
        "counts for as many as it stands for, since an edge cuts large ones more often.",
        "Rough where a nucleus is a few pixels wide; darker stain makes nuclei somewhat larger.",
    ),
    Metric(
        "class_area_d",
        "Area of a class",
        False,
        "Cohen’s d of the share of a tile that a class covers, as a judge reads both sets.",
        "A class that the judge does not see in synthetic images may be there all the same.",
    ),
    Metric(
        "class_entropy_d",
        "Entropy of classes",
        False,
        "Cohen’s d of the entropy of a tile’s class shares: how mixed its tissue is.",
        "Read by the judge on both sides.",
    ),
    Metric(
        "od_hematoxylin_w1",
        "Haematoxylin, histogram",
        False,
        "How far the haematoxylin of a pixel has to change on average to turn one histogram into "
        "the other (Wasserstein), in units of optical density.",
        "Never below 0, so two real sets are a little apart, too: compare with the real row.",
    ),
    Metric(
        "od_eosin_w1",
        "Eosin, histogram",
        False,
        "The same of eosin.",
        "Compare with the real row.",
    ),
    Metric(
        "nuclei_area_w1",
        "Area of nuclei, histogram",
        False,
        "The same of the areas of nuclei, in µm², or pixels where their size is unknown; each "
        "whole nucleus counts for as many as it stands for.",
        "Compare with the real row.",
    ),
)
METRICS = {metric.name: metric for metric in _METRICS}

TERMS = (
    (
        "Interval",
        "The 95 % confidence interval given by the evaluation, printed small under a value. With "
        "more than one generator seed it is the hull of the seeds' intervals.",
    ),
    (
        "Shared rank",
        "A condition ranks behind another only where their difference is more than chance: by the "
        "comparison of the two patient by patient (p below 0.05, corrected by Holm for all pairs "
        "of the score), or by intervals that lie wholly apart where no such comparison could be "
        "made, and by label, class, site or cluster. Conditions that nobody beats so share the "
        "lead.",
    ),
    (
        "Real (reference)",
        "Real training tiles of other patients, scored as if they were synthetic: how well real "
        "tissue itself would do. In the downstream columns, the network trained on real tiles.",
    ),
    (
        "Autoencoder (reference)",
        "Real test tiles sent through the autoencoder and back: no model that works in its latent "
        "space can be expected to do much better.",
    ),
    (
        "JPEG (reference)",
        "The real test tiles themselves, stored as JPEG of quality 90 and read again: what "
        "compression alone does to a score. They are the very tiles that everything is compared "
        "with, so a distance below the real row’s is no surprise.",
    ),
    (
        "Noise (reference)",
        "Pixels drawn by chance with the mean and spread of the real tiles’ colours, and no tissue "
        "in them: the far end of every scale.",
    ),
    (
        "Other site (reference)",
        "Real test tiles of the site with most of them, against real training tiles of all other "
        "sites: what another hospital does to a score, with no generator in between. Its reference "
        "is a part of the usual one, so its numbers carry a letter; read them beside the real row.",
    ),
    (
        "Shuffled (reference)",
        "The condition's own images against requests dealt out at random: the score of ignoring "
        "the request.",
    ),
    (
        "Wrong class (control)",
        "The condition's own images against requests whose classes are each read as another one; "
        "of two labels that is 1 − accuracy. Of real test tiles, it probes the judge: one that "
        "still approves cannot tell the classes apart.",
    ),
    (
        "Planted copies (reference)",
        "Real held-out tiles with copies of training tiles among them, one in twenty: as they are, "
        "flipped, as JPEG, in another stain. A score of privacy that does not find these would not "
        "find a generator’s copies. Which kinds each space finds is told beside its table.",
    ),
    (
        "Protocol",
        "A short hash of what must agree for two numbers to be comparable, such as encoder "
        "weights, image transform, sample size and split. Numbers of different protocols are "
        "marked and never ranked together.",
    ),
    (
        "Not applicable",
        "The condition makes this score impossible: an image made without a map cannot disobey "
        "one.",
    ),
)


def metric(name: str, higher_is_better: bool | None = None) -> Metric:
    """The entry of a metric; an unknown one is named by its own words and left unexplained."""
    if name in METRICS:
        return METRICS[name]
    label = name.replace("_", " ").capitalize()
    return Metric(name, label, bool(higher_is_better), "", "")


_RULES = {
    "unreadable": "the file is damaged there",
    "pen": "ink on the glass (tiling.reject)",
    "border": "black or blank, beyond what was scanned (tiling.reject)",
    "little_tissue": "tiling.min_tissue",
    "one_class": "tiling.heterogeneity",
    "blurred": "the scanner missed the focus there (tiling.reject)",
    "over_cap": "tiling.max_tiles_per_slide",
    "over_patient_cap": "tiling.max_tiles_per_patient",
}


def rule_words(rule: str) -> str:
    """Why a rule takes a tile, with the setting that decides; "" for one without more to say."""
    if rule.startswith("outlier"):
        return "a rule of Osorio et al. (tiling.outliers)"
    return _RULES.get(rule, "")


MPP_SOURCES = {
    "slide": "the slide’s own file",
    "table": "the cohort’s table, as the file does not say",
    "study": "cohort.mpp of the study, as neither file nor table says",
    "": "nobody: unknown",
}
